package run.lamina.client;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What went wrong, as the caller and the log see it. */
final class Failure {
    /** A problem with the function that is not an exception of its code. */
    static final class Fault extends RuntimeException {
        private static final long serialVersionUID = 1;

        final String kind;
        final boolean atStart;

        /** One that each invocation tells. */
        Fault(String message, String kind, Throwable cause) {
            this(message, kind, cause, false);
        }

        Fault(String message, String kind, Throwable cause, boolean atStart) {
            super(message, cause);
            this.kind = kind;
            this.atStart = atStart;
        }
    }

    final String header;
    private final String message;
    private final String type;
    private final List<String> frames = new ArrayList<String>();
    private final Throwable cause;

    private Failure(String message, String type, String header, Throwable cause) {
        this.message = message;
        this.type = type;
        this.header = header;
        this.cause = cause;
    }

    static Failure of(Throwable e) {
        if (e instanceof Fault) {
            Fault fault = (Fault) e;
            if (fault.getCause() != null) {
                trim(fault.getCause(), Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>()));
            }
            return new Failure(fault.getMessage(), fault.kind, "Runtime.BadFunctionCode", fault.getCause());
        }
        trim(e, Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>()));
        String message = e.getLocalizedMessage();
        String type = e.getClass().getName();
        Failure failure = new Failure(message == null ? type : message, type, "Runtime.UserException", e);
        for (StackTraceElement frame : e.getStackTrace()) {
            failure.frames.add(frame.toString());
        }
        return failure;
    }

    /** Cuts this client's frames, and the reflection between them and the function's, off a trace. */
    private static void trim(Throwable e, Set<Throwable> seen) {
        if (e == null || !seen.add(e)) {
            return;
        }
        StackTraceElement[] frames = e.getStackTrace();
        for (int i = 0; i < frames.length; i++) {
            if (frames[i].getClassName().startsWith("run.lamina.client.")) {
                while (i > 0 && reflection(frames[i - 1].getClassName())) {
                    i--;
                }
                StackTraceElement[] own = new StackTraceElement[i];
                System.arraycopy(frames, 0, own, 0, i);
                e.setStackTrace(own);
                break;
            }
        }
        trim(e.getCause(), seen);
        for (Throwable suppressed : e.getSuppressed()) {
            trim(suppressed, seen);
        }
    }

    private static boolean reflection(String name) {
        return name.startsWith("jdk.internal.reflect.") || name.startsWith("sun.reflect.") || name.startsWith("java.lang.reflect.")
                || name.startsWith("java.lang.invoke.");
    }

    byte[] json() {
        Map<String, Object> map = new LinkedHashMap<String, Object>();
        map.put("errorMessage", message);
        if (type != null) {
            map.put("errorType", type);
        }
        if (!header.equals("Runtime.BadFunctionCode")) {
            map.put("stackTrace", frames);
        }
        return Main.utf8(Json.write(map));
    }

    /** The log's account of it, with all causes. */
    String text() {
        StringBuilder text = new StringBuilder();
        text.append(message).append(type == null ? "" : ": " + type).append('\n');
        if (cause != null) {
            StringWriter trace = new StringWriter();
            cause.printStackTrace(new PrintWriter(trace, true));
            text.append(trace).append('\n');
        }
        return text.toString();
    }
}
