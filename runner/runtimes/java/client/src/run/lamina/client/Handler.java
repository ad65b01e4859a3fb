package run.lamina.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.Iterator;
import java.util.ServiceLoader;

/**
 * The function's handler: a class with one of the two interfaces of aws-lambda-java-core, or any public method, whose
 * parameters tell what it gets.
 */
final class Handler {
    private final Contexts contexts;
    private final Method method;
    private final Object target; // null for a static method
    private final Type input; // null when it takes no event
    private final Type output;
    private final boolean streamsIn;
    private final boolean streamsOut;
    private final int contextAt; // the parameter that is the Context, or -1
    private final Serializer serializer; // null for this client's own

    private Handler(Contexts contexts, Method method, Object target, Type input, Type output, ClassLoader loader) {
        this.contexts = contexts;
        this.method = method;
        this.target = target;
        this.input = input;
        this.output = output;
        Class<?>[] parameters = method.getParameterTypes();
        boolean in = false;
        boolean out = false;
        int context = -1;
        for (int i = 0; i < parameters.length; i++) {
            if (parameters[i] == contexts.contextClass && contexts.contextClass != null) {
                context = i;
            } else if (i == 0 && parameters[i] == InputStream.class) {
                in = true;
            } else if (parameters[i] == OutputStream.class) {
                out = true;
            }
        }
        streamsIn = in;
        streamsOut = out;
        contextAt = context;
        serializer = in || out ? null : Serializer.find(loader);
        method.setAccessible(true); // a public method of a class that is not public
    }

    static Handler load(String text, ClassLoader loader, Contexts contexts) throws Throwable {
        if (text == null || text.isEmpty()) {
            throw new Failure.Fault("Invalid handler: `" + text + "'", "java.lang.ClassNotFoundException", null);
        }
        int at = text.lastIndexOf("::");
        String className = at < 0 ? text : text.substring(0, at);
        String methodName = at < 0 ? null : text.substring(at + 2);
        if (className.isEmpty() || (methodName != null && methodName.isEmpty())) {
            throw new Failure.Fault("Invalid handler: `" + text + "'", "java.lang.ClassNotFoundException", null);
        }
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Failure.Fault("Class not found: " + className, ClassNotFoundException.class.getName(), e);
        } catch (NoClassDefFoundError e) {
            throw new Failure.Fault("Class not found: " + className, NoClassDefFoundError.class.getName(), e);
        } catch (ExceptionInInitializerError e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new Failure.Fault("Error loading class " + className + (e.getMessage() == null ? "" : ": " + e.getMessage()),
                    e.getClass().getName(), cause, true);
        }
        Class<?> handler = find("RequestHandler", loader);
        Class<?> streamHandler = find("RequestStreamHandler", loader);
        boolean wanted = methodName == null || methodName.equals("handleRequest");
        if (wanted && handler != null && handler.isAssignableFrom(type)) {
            Type[] arguments = Types.arguments(type, handler);
            if (arguments == null) {
                throw new Failure.Fault("Class " + className + " does not implement RequestHandler with concrete type parameters",
                        "java.lang.Exception", null);
            }
            Method method = handler.getMethod("handleRequest", Object.class, contexts.contextClass);
            return new Handler(contexts, method, instance(type), arguments[0], arguments[1], loader);
        }
        if (wanted && streamHandler != null && streamHandler.isAssignableFrom(type)) {
            Method method = streamHandler.getMethod("handleRequest", InputStream.class, OutputStream.class, contexts.contextClass);
            return new Handler(contexts, method, instance(type), null, void.class, loader);
        }
        if (methodName == null) {
            throw new Failure.Fault("Class does not implement an appropriate handler interface: " + className, "java.lang.Exception", null);
        }
        Method method = choose(type, methodName, contexts.contextClass);
        if (method == null) {
            throw new Failure.Fault("No public method named " + methodName + " with appropriate method signature found on class " + className, null, null);
        }
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        Type[] parameters = method.getGenericParameterTypes();
        Class<?>[] raw = method.getParameterTypes();
        boolean event = raw.length > 0 && raw[0] != contexts.contextClass && raw[0] != InputStream.class && raw[0] != OutputStream.class;
        return new Handler(contexts, method, target, event ? Types.resolve(parameters[0], type) : null,
                Types.resolve(method.getGenericReturnType(), type), loader);
    }

    private static Class<?> find(String name, ClassLoader loader) {
        try {
            return Class.forName(Contexts.PACKAGE + name, true, loader);
        } catch (ClassNotFoundException e) {
            return null;
        }
    }

    /** Of the methods with that name the one that tells most: a Context at its end, then more parameters, then no bridge. */
    private static Method choose(Class<?> type, String name, Class<?> context) {
        Method best = null;
        int rank = -1;
        for (Method m : type.getMethods()) {
            if (!m.getName().equals(name) || !fits(m.getParameterTypes(), context)) {
                continue;
            }
            Class<?>[] p = m.getParameterTypes();
            int r = p.length * 4 + (p.length > 0 && p[p.length - 1] == context && context != null ? 2 : 0) + (m.isBridge() ? 0 : 1);
            if (r > rank) {
                best = m;
                rank = r;
            }
        }
        return best;
    }

    private static boolean fits(Class<?>[] p, Class<?> context) {
        switch (p.length) {
            case 0:
            case 1:
                return true;
            case 2:
                return (p[1] == context && p[0] != context) || (p[0] == InputStream.class && p[1] == OutputStream.class);
            case 3:
                return p[0] == InputStream.class && p[1] == OutputStream.class && p[2] == context;
            default:
                return false;
        }
    }

    private static Object instance(Class<?> type) throws Throwable {
        Constructor<?> constructor;
        try {
            constructor = type.getConstructor();
        } catch (NoSuchMethodException e) {
            boolean inner = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers());
            throw new Failure.Fault("Class " + type.getName() + (inner ? " cannot be instantiated because it is a non-static inner class"
                    : " has no public zero-argument constructor"), "java.lang.Exception", e);
        }
        constructor.setAccessible(true);
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException e) {
            String message = e.getCause().getLocalizedMessage();
            String kind = e.getCause().getClass().getName();
            throw new Failure.Fault(message == null ? kind : message, kind, e.getCause(), true);
        }
    }

    /** Runs the handler for one event and writes its result. */
    void handle(Connection.Answer invocation, ByteArrayOutputStream result) throws Throwable {
        Object[] arguments = new Object[method.getParameterTypes().length];
        for (int i = 0; i < arguments.length; i++) {
            if (i == contextAt) {
                arguments[i] = contexts.context(invocation);
            } else if (i == 0 && streamsIn) {
                arguments[i] = new ByteArrayInputStream(invocation.body);
            } else if (streamsOut && method.getParameterTypes()[i] == OutputStream.class) {
                arguments[i] = result;
            } else {
                arguments[i] = event(invocation.body);
            }
        }
        Object value;
        try {
            value = method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
        if (streamsIn || streamsOut) {
            return;
        }
        try {
            if (serializer != null && output != void.class) {
                serializer.toJson(value, result, output);
            } else {
                result.write(Main.utf8(Mapper.write(value)));
            }
        } catch (RuntimeException e) {
            throw jsonFault("An error occurred during JSON serialization of response", e);
        }
    }

    private Object event(byte[] body) throws Throwable {
        try {
            return serializer != null ? serializer.fromJson(new ByteArrayInputStream(body), input) : Mapper.read(body, input);
        } catch (RuntimeException e) {
            throw jsonFault("An error occurred during JSON parsing", e);
        } catch (LinkageError e) {
            throw jsonFault("An error occurred during JSON parsing", e);
        }
    }

    private static RuntimeException jsonFault(String message, Throwable e) {
        RuntimeException fault = new RuntimeException(message, e);
        fault.setStackTrace(new StackTraceElement[0]);
        return fault;
    }

    /** A CustomPojoSerializer that the function brought. */
    private static final class Serializer {
        private final Object object;
        private final Method from;
        private final Method to;

        private Serializer(Object object, Method from, Method to) {
            this.object = object;
            this.from = from;
            this.to = to;
        }

        static Serializer find(ClassLoader loader) {
            try {
                if (loader.getResource("META-INF/services/" + Contexts.PACKAGE + "CustomPojoSerializer") == null) {
                    return null;
                }
                Class<?> type = Class.forName(Contexts.PACKAGE + "CustomPojoSerializer", true, loader);
                Iterator<?> all = ServiceLoader.load(type, loader).iterator();
                if (!all.hasNext()) {
                    return null;
                }
                Object object = all.next();
                if (all.hasNext()) {
                    throw new Failure.Fault("Too many serializers provided inside the META-INF/services folder, only one is allowed",
                            "java.lang.Exception", null);
                }
                return new Serializer(object, type.getMethod("fromJson", InputStream.class, Type.class),
                        type.getMethod("toJson", Object.class, OutputStream.class, Type.class));
            } catch (ReflectiveOperationException e) {
                return null;
            }
        }

        Object fromJson(InputStream in, Type type) throws Throwable {
            return call(from, in, type);
        }

        void toJson(Object value, OutputStream out, Type type) throws Throwable {
            call(to, value, out, type);
        }

        private Object call(Method method, Object... arguments) throws Throwable {
            try {
                return method.invoke(object, arguments);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
        }
    }
}
