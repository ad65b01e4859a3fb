package run.lamina.client;

import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The function's class path, in AWS's order: its own classes, its lib, the layers' java/lib. */
final class ClassPath {
    private ClassPath() {}

    static ClassLoader loader(String task) throws MalformedURLException {
        if (task == null) {
            task = "/var/task";
        }
        List<URL> urls = new ArrayList<URL>();
        urls.add(new File(task).toURI().toURL());
        jars(new File(task, "lib"), urls);
        jars(new File("/opt/java/lib"), urls);
        // What the operator shows beside the runtime.
        String runtime = System.getenv("LAMBDA_RUNTIME_DIR");
        jars(new File(runtime == null ? "/var/runtime" : runtime, "lib"), urls);
        return new URLClassLoader(urls.toArray(new URL[0]), ClassLoader.getSystemClassLoader());
    }

    private static void jars(File dir, List<URL> urls) throws MalformedURLException {
        String[] names = dir.list();
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String name : names) {
            if (name.endsWith(".jar")) {
                urls.add(new File(dir, name).toURI().toURL());
            }
        }
    }
}
