package run.lamina.client;

import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Uses the classes that a cold start needs once, so that the JVM can archive them. */
final class Training {
    private Training() {}

    /** A bean like those of functions. */
    public static final class Sample {
        private String name;
        public List<Integer> numbers;

        public String getName() {
            return name;
        }

        public void setName(String name) {
            this.name = name;
        }
    }

    static void run() throws Throwable {
        ServerSocket server = new ServerSocket(0, 1, java.net.InetAddress.getByName("127.0.0.1"));
        Connection connection = new Connection("127.0.0.1:" + server.getLocalPort());
        Socket peer = server.accept();
        connection.post("invocation/1/response", Main.utf8("{}"), "Type", true);
        InputStream in = peer.getInputStream();
        in.read(new byte[1024]);
        peer.getOutputStream().write(Main.utf8("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"));
        connection.receive();
        peer.close();
        server.close();

        ClassLoader loader = ClassPath.loader("/");
        Logger logger = new Logger(System.getenv());
        Contexts contexts = new Contexts(loader, logger);
        Connection.Answer answer = new Connection.Answer();
        answer.body = Main.utf8("{\"name\":\"n\",\"numbers\":[1,2],\"x\":{\"w\":[2.5,3000000000],\"y\":null,\"z\":true}}");
        contexts.context(answer);
        for (String name : new String[] {"sample", "plain"}) {
            Handler.load(Training.class.getName() + "::" + name, loader, contexts).handle(answer, new ByteArrayOutputStream());
        }
        Method own = Training.class.getMethod("sample", Sample.class);
        Proxy.newProxyInstance(loader, new Class<?>[] {Runnable.class}, new InvocationHandler() {
            @Override
            public Object invoke(Object proxy, Method method, Object[] args) {
                return null;
            }
        });
        own.toGenericString();
        Failure.of(new IllegalStateException("x")).json();
        Failure.of(new IllegalStateException("x")).text();
        System.setOut(Main.console(java.io.FileDescriptor.out));
        System.setErr(Main.console(java.io.FileDescriptor.err));
        System.out.flush();
    }

    public static Sample sample(Sample s) {
        return s;
    }

    public static Map<String, Object> plain(Map<String, Object> m) {
        return new LinkedHashMap<String, Object>(m);
    }
}
