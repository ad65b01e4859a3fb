package run.lamina.client;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Makes the objects of aws-lambda-java-core that handlers get, as proxies of whichever interfaces the function brought. */
final class Contexts {
    static final String PACKAGE = "com.amazonaws.services.lambda.runtime.";

    private final ClassLoader loader;
    final Class<?> contextClass; // null when the function did not bring it
    private final Object logger;
    private final Map<String, Object> fixed = new HashMap<String, Object>();
    private Method usesLog4j;

    Contexts(ClassLoader loader, Logger logger) {
        this.loader = loader;
        contextClass = find("Context");
        this.logger = contextClass == null ? null : proxy("LambdaLogger", new LoggerProxy(logger));
        if (contextClass != null) {
            setStaticLogger();
        }
        Map<String, String> env = System.getenv();
        fixed.put("getLogGroupName", env.get("AWS_LAMBDA_LOG_GROUP_NAME"));
        fixed.put("getLogStreamName", env.get("AWS_LAMBDA_LOG_STREAM_NAME"));
        fixed.put("getFunctionName", env.get("AWS_LAMBDA_FUNCTION_NAME"));
        fixed.put("getFunctionVersion", env.get("AWS_LAMBDA_FUNCTION_VERSION"));
        String memory = env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        fixed.put("getMemoryLimitInMB", memory == null ? Integer.valueOf(128) : Integer.valueOf(memory));
        fixed.put("getLogger", this.logger);
    }

    private Class<?> find(String name) {
        try {
            return Class.forName(PACKAGE + name, true, loader);
        } catch (ClassNotFoundException e) {
            return null;
        } catch (LinkageError e) {
            return null;
        }
    }

    private Object proxy(String name, InvocationHandler behaviour) {
        Class<?> type = find(name);
        return type == null ? null : Proxy.newProxyInstance(loader, new Class<?>[] {type}, behaviour);
    }

    /** LambdaRuntime.getLogger() answers with this logger, too. */
    private void setStaticLogger() {
        try {
            Class<?> type = find("LambdaRuntime");
            if (type != null) {
                Field field = type.getDeclaredField("logger");
                field.setAccessible(true);
                field.set(null, logger);
            }
            Class<?> internal = find("LambdaRuntimeInternal");
            if (internal != null) {
                usesLog4j = internal.getMethod("getUseLog4jAppender");
            }
        } catch (ReflectiveOperationException e) {
            // An old version of the library, without these.
        } catch (RuntimeException e) {
            // As above.
        }
    }

    /** The Context of one invocation. */
    Object context(Connection.Answer invocation) {
        if (contextClass == null) {
            return null;
        }
        Map<String, Object> values = new HashMap<String, Object>(fixed);
        values.put("getAwsRequestId", invocation.header("lambda-runtime-aws-request-id"));
        values.put("getInvokedFunctionArn", invocation.header("lambda-runtime-invoked-function-arn"));
        values.put("getTenantId", invocation.header("lambda-runtime-aws-tenant-id"));
        Map<?, ?> identity = object(invocation.header("lambda-runtime-cognito-identity"));
        Map<String, Object> id = new HashMap<String, Object>();
        id.put("getIdentityId", text(identity, "cognitoIdentityId"));
        id.put("getIdentityPoolId", text(identity, "cognitoIdentityPoolId"));
        values.put("getIdentity", proxy("CognitoIdentity", new Values("CognitoIdentity", id, 0)));
        values.put("getClientContext", client(object(invocation.header("lambda-runtime-client-context"))));
        String deadline = invocation.header("lambda-runtime-deadline-ms");
        putRequestId(invocation.header("lambda-runtime-aws-request-id"));
        return Proxy.newProxyInstance(loader, new Class<?>[] {contextClass},
                new Values("Context", values, deadline == null ? 0 : Long.parseLong(deadline)));
    }

    private Object client(Map<?, ?> from) {
        if (from == null) {
            return null;
        }
        Map<String, Object> values = new HashMap<String, Object>();
        Map<?, ?> client = from.get("client") instanceof Map ? (Map<?, ?>) from.get("client") : null;
        if (client != null) {
            Map<String, Object> inner = new HashMap<String, Object>();
            inner.put("getInstallationId", text(client, "installation_id"));
            inner.put("getAppTitle", text(client, "app_title"));
            inner.put("getAppVersionName", text(client, "app_version_name"));
            inner.put("getAppVersionCode", text(client, "app_version_code"));
            inner.put("getAppPackageName", text(client, "app_package_name"));
            values.put("getClient", proxy("Client", new Values("Client", inner, 0)));
        }
        values.put("getCustom", texts(from.get("custom")));
        values.put("getEnvironment", texts(from.get("env")));
        return proxy("ClientContext", new Values("ClientContext", values, 0));
    }

    private static Map<String, String> texts(Object from) {
        if (!(from instanceof Map)) {
            return null;
        }
        Map<String, String> out = new HashMap<String, String>();
        for (Map.Entry<?, ?> e : ((Map<?, ?>) from).entrySet()) {
            Object v = e.getValue();
            out.put((String) e.getKey(), v == null ? null : v instanceof String ? (String) v : Json.write(v));
        }
        return out;
    }

    private static Map<?, ?> object(String json) {
        Object value = json == null || json.isEmpty() ? null : Json.parse(Main.utf8(json));
        return value instanceof Map ? (Map<?, ?>) value : null;
    }

    private static Object text(Map<?, ?> from, String name) {
        Object value = from == null ? null : from.get(name);
        return value == null ? null : value.toString();
    }

    /** Gives the function's log4j the request ID, when its appender asked for that. */
    private void putRequestId(String id) {
        try {
            if (usesLog4j == null || !Boolean.TRUE.equals(usesLog4j.invoke(null))) {
                return;
            }
        } catch (ReflectiveOperationException e) {
            return;
        }
        for (String name : new String[] {"org.apache.logging.log4j.ThreadContext", "org.apache.log4j.MDC"}) {
            try {
                Class<?> type = Class.forName(name, true, loader);
                Class<?> value = name.endsWith("MDC") ? Object.class : String.class;
                type.getMethod("put", String.class, value).invoke(null, "AWSRequestId", id);
                return;
            } catch (ReflectiveOperationException e) {
                // The other one, then.
            } catch (LinkageError e) {
                // As above.
            }
        }
    }

    /** Getters that answer with what was put in. One that a newer library brings answers with nothing. */
    private static final class Values implements InvocationHandler {
        private final String name;
        private final Map<String, Object> values;
        private final long deadline;

        Values(String name, Map<String, Object> values, long deadline) {
            this.name = name;
            this.values = values;
            this.deadline = deadline;
        }

        @Override
        public Object invoke(Object proxy, Method method, Object[] args) {
            String called = method.getName();
            if (called.equals("getRemainingTimeInMillis")) {
                return Integer.valueOf((int) (deadline - System.currentTimeMillis()));
            }
            Object value = values.get(called);
            if (value != null) {
                return value;
            }
            return ofObject(name, proxy, method, args);
        }
    }

    static Object ofObject(String name, Object proxy, Method method, Object[] args) {
        if (method.getDeclaringClass() == Object.class) {
            switch (method.getName()) {
                case "equals":
                    return Boolean.valueOf(proxy == args[0]);
                case "hashCode":
                    return Integer.valueOf(System.identityHashCode(proxy));
                default:
                    return name + "@" + Integer.toHexString(System.identityHashCode(proxy));
            }
        }
        Class<?> type = method.getReturnType();
        if (type == int.class) {
            return Integer.valueOf(0);
        }
        if (type == long.class) {
            return Long.valueOf(0);
        }
        return type == boolean.class ? Boolean.FALSE : null;
    }

    private static final class LoggerProxy implements InvocationHandler {
        private final Logger logger;

        LoggerProxy(Logger logger) {
            this.logger = logger;
        }

        @Override
        public Object invoke(Object proxy, Method method, Object[] args) {
            if (!method.getName().equals("log") || args == null) {
                return ofObject("LambdaLogger", proxy, method, args);
            }
            Object message = args[0];
            String text = message instanceof byte[] ? new String((byte[]) message, StandardCharsets.UTF_8) : (String) message;
            logger.log(text, args.length > 1 && args[1] != null ? args[1].toString() : "UNDEFINED");
            return null;
        }
    }
}
