package run.lamina.client;

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * Lamina's runtime client for Java 8 and later.
 *
 * <p>It runs inside the sandbox: it loads the function's handler from the function's own class path, then asks the Runtime
 * API for invocations and answers them, one at a time, over one kept connection. It has no dependencies: the interfaces
 * of aws-lambda-java-core are found in the function's archive, or a layer, by reflection. It is compiled for Java 8, and
 * without lambdas and streams, whose bootstrap a cold start would wait for.
 */
public final class Main {
    static final String LOG_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD";

    private Main() {}

    public static void main(String[] args) throws Throwable {
        if (args.length == 1 && args[0].equals("--train")) {
            Training.run();
            return;
        }
        System.setOut(console(FileDescriptor.out));
        System.setErr(console(FileDescriptor.err));
        Logger logger = new Logger(System.getenv());
        boolean setsVariables = version() < 17;
        if (setsVariables) {
            setVariable(LOG_VARIABLE, null);
        }
        Connection connection = new Connection(System.getenv("AWS_LAMBDA_RUNTIME_API"));
        ClassLoader loader = ClassPath.loader(System.getenv("LAMBDA_TASK_ROOT"));
        Thread.currentThread().setContextClassLoader(loader);
        Handler handler = null;
        Failure.Fault fault = null;
        try {
            Contexts contexts = new Contexts(loader, logger);
            handler = Handler.load(System.getenv("_HANDLER"), loader, contexts);
        } catch (Throwable e) {
            fault = e instanceof Failure.Fault ? (Failure.Fault) e : new Failure.Fault(e.toString(), e.getClass().getName(), e, true);
        }
        if (fault != null && fault.atStart) {
            Throwable e = fault;
            Failure failure = Failure.of(e);
            logger.error(failure.text());
            connection.post("init/error", failure.json(), failure.header, false);
            connection.receive();
            System.exit(1);
            return;
        }
        connection.ask();
        for (;;) {
            Connection.Answer invocation = connection.receive();
            String id = invocation.header("lambda-runtime-aws-request-id");
            logger.requestId = id;
            String trace = invocation.header("lambda-runtime-trace-id");
            if (trace == null) {
                System.clearProperty("com.amazonaws.xray.traceHeader");
            } else {
                System.setProperty("com.amazonaws.xray.traceHeader", trace);
            }
            if (setsVariables) {
                setVariable("_X_AMZN_TRACE_ID", trace);
            }
            ByteArrayOutputStream result = new ByteArrayOutputStream(256);
            Throwable thrown = null;
            try {
                if (fault != null) {
                    throw fault;
                }
                handler.handle(invocation, result);
            } catch (Throwable e) {
                thrown = e;
            }
            Thread.interrupted(); // what a handler left must not hit the next one
            System.out.flush();
            System.err.flush();
            if (thrown == null) {
                connection.post("invocation/" + id + "/response", result.toByteArray(), null, true);
                connection.receive();
                continue;
            }
            Failure failure = Failure.of(thrown);
            logger.error(failure.text());
            boolean fatal = thrown instanceof VirtualMachineError;
            connection.post("invocation/" + id + "/error", failure.json(), failure.header, !fatal);
            connection.receive();
            if (fatal) {
                System.exit(1);
            }
        }
    }

    /** A stream that passes each print on at once, so that the tail of the log has it. */
    static PrintStream console(FileDescriptor fd) throws Exception {
        return new PrintStream(new FileOutputStream(fd), true, "UTF-8");
    }

    /** The version of the runtime that the function was made for, which may be older than this machine. */
    static int version() {
        String name = System.getenv("AWS_EXECUTION_ENV");
        int version = 0;
        if (name != null) {
            int at = name.indexOf("java") + 4;
            for (; at >= 4 && at < name.length() && Character.isDigit(name.charAt(at)); at++) {
                version = version * 10 + name.charAt(at) - '0';
            }
        }
        return version == 0 ? 17 : version;
    }

    /** Changes what System.getenv tells, as the runtimes before Java 17 do. */
    @SuppressWarnings("unchecked")
    private static void setVariable(String name, String value) {
        try {
            Map<String, String> map = System.getenv();
            Field field = map.getClass().getDeclaredField("m");
            field.setAccessible(true);
            Map<String, String> inner = (Map<String, String>) field.get(map);
            if (value == null) {
                inner.remove(name);
            } else {
                inner.put(name, value);
            }
        } catch (ReflectiveOperationException e) {
            // Only a machine that differs from all known ones; the property has it.
        } catch (RuntimeException e) {
            // As above: a module that is not open.
        }
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
