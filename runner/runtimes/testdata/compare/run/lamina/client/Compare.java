package run.lamina.client;

import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.lang.reflect.Type;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Reads lines of a method, a tab and an event, gives the event to the method by this client's mapper and by AWS's
 * serializers, and prints what came of both.
 */
public final class Compare {
    private interface Way {
        Object read(byte[] json, Type type);

        String write(Object value, Type type) throws Exception;
    }

    @SuppressWarnings("unchecked")
    private static PojoSerializer<Object> aws(Type type) {
        if (type instanceof Class) {
            Class<Object> c = (Class<Object>) type;
            if (LambdaEventSerializers.isLambdaSupportedEvent(c.getName())) {
                return LambdaEventSerializers.serializerFor(c, Compare.class.getClassLoader());
            }
        }
        return JacksonFactory.getInstance().getSerializer(type);
    }

    public static void main(String[] args) throws Exception {
        Way own = new Way() {
            public Object read(byte[] json, Type type) {
                return Mapper.read(json, type);
            }

            public String write(Object value, Type type) {
                return Mapper.write(value);
            }
        };
        Way theirs = new Way() {
            public Object read(byte[] json, Type type) {
                return aws(type).fromJson(new ByteArrayInputStream(json));
            }

            public String write(Object value, Type type) throws Exception {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                aws(type).toJson(value, out);
                return out.toString("UTF-8");
            }
        };
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] parts = line.split("\t", 2);
            int dot = parts[0].lastIndexOf("::");
            Class<?> type = Class.forName(parts[0].substring(0, dot));
            Method method = null;
            for (Method m : type.getMethods()) {
                if (m.getName().equals(parts[0].substring(dot + 2))) {
                    method = m;
                }
            }
            Map<String, Object> line2 = new LinkedHashMap<String, Object>();
            line2.put("own", run(own, type.getConstructor().newInstance(), method, parts[1]));
            line2.put("aws", run(theirs, type.getConstructor().newInstance(), method, parts[1]));
            out.println(Json.write(line2));
        }
    }

    private static String run(Way way, Object target, Method method, String event) {
        Object value;
        try {
            Type[] parameters = method.getGenericParameterTypes();
            Object[] arguments = new Object[parameters.length];
            if (arguments.length > 0) {
                try {
                    arguments[0] = way.read(Main.utf8(event), parameters[0]);
                } catch (RuntimeException e) {
                    return "!" + (System.getenv("VERBOSE") == null ? "" : e);
                }
            }
            value = method.invoke(target, arguments);
        } catch (Exception e) {
            return "?" + e;
        }
        try {
            return way.write(value, method.getGenericReturnType());
        } catch (Exception e) {
            return "!" + (System.getenv("VERBOSE") == null ? "" : e);
        } catch (StackOverflowError e) {
            return "!";
        }
    }
}
