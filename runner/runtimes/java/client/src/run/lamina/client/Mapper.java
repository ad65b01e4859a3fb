package run.lamina.client;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Calendar;
import java.util.Collection;
import java.util.Date;
import java.util.Enumeration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.LinkedList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Makes events into the objects that a handler declares, and results into JSON, as AWS's runtimes do: beans by their
 * setters, getters and public fields, without annotations; records, enums, collections, arrays, maps, and values that are
 * one string. Unknown members are ignored, null members of beans are not written.
 */
final class Mapper {
    /** Why a value does not fit. */
    static final class MismatchException extends RuntimeException {
        private static final long serialVersionUID = 1;

        MismatchException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private static final int MAX_DEPTH = 1000;

    private Mapper() {}

    static Object read(byte[] json, Type type) {
        return read(Json.parse(json), type);
    }

    private static MismatchException mismatch(Type type, Object value) {
        String from = value instanceof Map ? "Object value" : value instanceof List ? "Array value"
                : value instanceof String ? "String \"" + value + "\"" : "value " + value;
        return new MismatchException("Cannot deserialize value of type `" + Types.raw(type).getName() + "` from " + from, null);
    }

    // ---- events

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Object read(Object value, Type type) {
        Class<?> raw = Types.raw(type);
        if (value == null) {
            return raw.isPrimitive() ? zero(raw) : null;
        }
        if (raw == Object.class || raw == java.io.Serializable.class) {
            return plain(value);
        }
        if (raw == String.class || raw == CharSequence.class) {
            if (value instanceof Map || value instanceof List) {
                throw mismatch(type, value);
            }
            return value.toString();
        }
        if (raw == void.class || raw == Void.class) {
            return null;
        }
        if (raw.isPrimitive() || Number.class.isAssignableFrom(raw) || raw == Boolean.class || raw == Character.class) {
            return scalar(value, raw, type);
        }
        if (raw.isEnum()) {
            return constant(value, raw);
        }
        if (raw.isArray()) {
            return array(value, raw, type);
        }
        if (Map.class.isAssignableFrom(raw)) {
            if (!(value instanceof Map)) {
                throw mismatch(type, value);
            }
            Type keys = Types.argument(type, Map.class, 0);
            Type values = Types.argument(type, Map.class, 1);
            Map map = (Map) container(raw, value);
            for (Map.Entry<String, Object> e : ((Map<String, Object>) value).entrySet()) {
                map.put(read(e.getKey(), keys), read(e.getValue(), values));
            }
            return map;
        }
        if (Collection.class.isAssignableFrom(raw) || raw == Iterable.class) {
            Type items = Types.argument(type, Iterable.class, 0);
            Collection all = (Collection) container(raw, value);
            for (Object item : list(value)) {
                all.add(read(item, items));
            }
            return all;
        }
        if (raw == java.util.Optional.class) {
            return java.util.Optional.ofNullable(read(value, Types.argument(type, raw, 0)));
        }
        if (raw == ByteBuffer.class && value instanceof String) {
            return ByteBuffer.wrap(base64((String) value));
        }
        if (Date.class.isAssignableFrom(raw) || raw == Calendar.class) {
            return date(value, raw, type);
        }
        if (!(value instanceof Map)) {
            return single(value, raw, type);
        }
        Bean bean = Bean.of(raw);
        return bean.isRecord() ? bean.record((Map<String, Object>) value, type) : bean((Map<String, Object>) value, bean, type);
    }

    /** A value that is no list is a list of one. */
    @SuppressWarnings("unchecked")
    private static List<Object> list(Object value) {
        return value instanceof List ? (List<Object>) value : java.util.Collections.singletonList(value);
    }

    /** What an event is to those who declare nothing about it. */
    @SuppressWarnings("unchecked")
    private static Object plain(Object value) {
        if (value instanceof Json.Decimal) {
            return Double.valueOf(((Json.Decimal) value).doubleValue());
        }
        if (value instanceof Map) {
            for (Map.Entry<String, Object> e : ((Map<String, Object>) value).entrySet()) {
                e.setValue(plain(e.getValue()));
            }
        } else if (value instanceof List) {
            List<Object> list = (List<Object>) value;
            for (int i = 0; i < list.size(); i++) {
                list.set(i, plain(list.get(i)));
            }
        }
        return value;
    }

    private static Object zero(Class<?> type) {
        return Array.get(Array.newInstance(type, 1), 0);
    }

    private static Object scalar(Object value, Class<?> raw, Type type) {
        if (value instanceof Map || value instanceof List) {
            throw mismatch(type, value);
        }
        if (raw == char.class || raw == Character.class) {
            if (value instanceof String && ((String) value).length() == 1) {
                return Character.valueOf(((String) value).charAt(0));
            }
            if (value instanceof Integer) {
                return Character.valueOf((char) ((Integer) value).intValue());
            }
            if ("".equals(value)) {
                return raw.isPrimitive() ? Character.valueOf((char) 0) : null;
            }
            throw mismatch(type, value);
        }
        if (raw == boolean.class || raw == Boolean.class) {
            if (value instanceof Boolean) {
                return value;
            }
            if (value instanceof Number && !(value instanceof Json.Decimal)) {
                return Boolean.valueOf(((Number) value).doubleValue() != 0);
            }
            String text = value.toString().trim();
            if (text.equalsIgnoreCase("true") || text.equalsIgnoreCase("false")) {
                return Boolean.valueOf(text.equalsIgnoreCase("true"));
            }
            if (text.isEmpty()) {
                return raw.isPrimitive() ? Boolean.FALSE : null;
            }
            throw mismatch(type, value);
        }
        if (value instanceof Boolean) {
            throw mismatch(type, value);
        }
        String text = value.toString().trim();
        if (text.isEmpty()) {
            return raw.isPrimitive() ? zero(raw) : null;
        }
        try {
            if (raw == double.class || raw == Double.class) {
                return Double.valueOf(text);
            }
            if (raw == float.class || raw == Float.class) {
                return Float.valueOf(text);
            }
            if (raw == Number.class) {
                return value instanceof Number ? plain(value) : plain(Json.parse(Main.utf8(text)));
            }
            BigDecimal number = new BigDecimal(text);
            if (raw == BigDecimal.class) {
                return number;
            }
            if (value instanceof String && number.scale() > 0) {
                throw mismatch(type, value);
            }
            BigInteger whole = number.toBigInteger();
            if (raw == BigInteger.class) {
                return whole;
            }
            int bits = whole.bitLength();
            if (raw == int.class || raw == Integer.class) {
                return Integer.valueOf(fits(bits, 31, whole, type).intValue());
            }
            if (raw == long.class || raw == Long.class) {
                return Long.valueOf(fits(bits, 63, whole, type).longValue());
            }
            if (raw == short.class || raw == Short.class) {
                return Short.valueOf(fits(bits, 15, whole, type).shortValue());
            }
            if (raw == byte.class || raw == Byte.class) {
                return Byte.valueOf(fits(bits, 8, whole, type).byteValue());
            }
            if (raw == java.util.concurrent.atomic.AtomicInteger.class) {
                return new java.util.concurrent.atomic.AtomicInteger(fits(bits, 31, whole, type).intValue());
            }
            if (raw == java.util.concurrent.atomic.AtomicLong.class) {
                return new java.util.concurrent.atomic.AtomicLong(fits(bits, 63, whole, type).longValue());
            }
        } catch (NumberFormatException e) {
            throw mismatch(type, value);
        }
        throw mismatch(type, value);
    }

    private static BigInteger fits(int bits, int most, BigInteger number, Type type) {
        if (bits > most) {
            throw new MismatchException("Numeric value (" + number + ") out of range of " + Types.raw(type).getName(), null);
        }
        return number;
    }

    private static Object constant(Object value, Class<?> raw) {
        Object[] constants = raw.getEnumConstants();
        if (value instanceof Integer) {
            int n = ((Integer) value).intValue();
            if (n >= 0 && n < constants.length) {
                return constants[n];
            }
        }
        for (Object c : constants) {
            if (((Enum<?>) c).name().equals(value)) {
                return c;
            }
        }
        if (value instanceof String) {
            return null; // one that is not known
        }
        throw mismatch(raw, value);
    }

    private static byte[] base64(String text) {
        return Base64.getMimeDecoder().decode(text);
    }

    private static Object array(Object value, Class<?> raw, Type type) {
        Class<?> component = raw.getComponentType();
        if (component == byte.class && value instanceof String) {
            return base64((String) value);
        }
        if (component == char.class && value instanceof String) {
            return ((String) value).toCharArray();
        }
        Type items = type instanceof java.lang.reflect.GenericArrayType
                ? ((java.lang.reflect.GenericArrayType) type).getGenericComponentType() : component;
        List<?> list = list(value);
        Object array = Array.newInstance(component, list.size());
        for (int i = 0; i < list.size(); i++) {
            Array.set(array, i, read(list.get(i), items));
        }
        return array;
    }

    private static Object container(Class<?> raw, Object value) {
        if (!raw.isInterface() && !Modifier.isAbstract(raw.getModifiers())) {
            return make(raw);
        }
        if (raw.isAssignableFrom(LinkedHashMap.class)) {
            return new LinkedHashMap<Object, Object>();
        }
        if (SortedMap.class.isAssignableFrom(raw)) {
            return raw.isAssignableFrom(TreeMap.class) ? new TreeMap<Object, Object>()
                    : new java.util.concurrent.ConcurrentSkipListMap<Object, Object>();
        }
        if (Map.class.isAssignableFrom(raw)) {
            return new java.util.concurrent.ConcurrentHashMap<Object, Object>();
        }
        if (raw.isAssignableFrom(ArrayList.class)) {
            return new ArrayList<Object>();
        }
        if (SortedSet.class.isAssignableFrom(raw)) {
            return new TreeSet<Object>();
        }
        if (raw.isAssignableFrom(HashSet.class)) {
            return new LinkedHashSet<Object>();
        }
        if (raw.isAssignableFrom(LinkedList.class)) {
            return new LinkedList<Object>();
        }
        if (raw.isAssignableFrom(ArrayDeque.class)) {
            return new ArrayDeque<Object>();
        }
        throw mismatch(raw, value);
    }

    /** Milliseconds, or ISO 8601. */
    private static Object date(Object value, Class<?> raw, Type type) {
        long millis;
        if (value instanceof Number) {
            millis = ((Number) value).longValue();
        } else if (value instanceof String) {
            String text = ((String) value).trim();
            if (text.isEmpty()) {
                return null;
            }
            try {
                if (text.length() == 10) {
                    text += "T00:00:00Z";
                } else if (text.matches(".*[+-]\\d{4}")) {
                    text = text.substring(0, text.length() - 2) + ":" + text.substring(text.length() - 2);
                } else if (!text.matches(".*(Z|[+-]\\d\\d(:\\d\\d)?)")) {
                    text += "Z";
                }
                millis = java.time.OffsetDateTime.parse(text).toInstant().toEpochMilli();
            } catch (java.time.DateTimeException e) {
                throw mismatch(type, value);
            }
        } else {
            throw mismatch(type, value);
        }
        if (raw == Calendar.class) {
            Calendar calendar = Calendar.getInstance(java.util.TimeZone.getTimeZone("UTC"));
            calendar.setTimeInMillis(millis);
            return calendar;
        }
        try {
            return raw.getConstructor(raw == Date.class ? new Class<?>[] {long.class} : new Class<?>[] {long.class}).newInstance(millis);
        } catch (ReflectiveOperationException e) {
            throw mismatch(type, value);
        }
    }

    /** A class that is made of one string or number: by its constructor, or by valueOf, fromString, parse. */
    private static Object single(Object value, Class<?> raw, Type type) {
        if (value instanceof List || value instanceof Boolean || !(raw.getName().startsWith("java.") || raw.getName().startsWith("org.joda."))) {
            if ("".equals(value)) {
                return null;
            }
            throw mismatch(type, value);
        }
        try {
            if (raw == java.util.Locale.class) {
                return java.util.Locale.forLanguageTag(value.toString().replace('_', '-'));
            }
            if (raw == java.util.TimeZone.class) {
                return java.util.TimeZone.getTimeZone(value.toString());
            }
            if (raw.getName().equals("java.time.Instant") && value instanceof Number) {
                return instant(new BigDecimal(value.toString()));
            }
            if (raw.getName().equals("org.joda.time.DateTime")) {
                return raw.getConstructor(Object.class, Class.forName("org.joda.time.DateTimeZone", true, raw.getClassLoader()))
                        .newInstance(value instanceof Number ? (Object) ((Number) value).longValue() : value,
                                Class.forName("org.joda.time.DateTimeZone", true, raw.getClassLoader()).getField("UTC").get(null));
            }
            if (value instanceof String) {
                String text = (String) value;
                for (Constructor<?> c : raw.getConstructors()) {
                    if (c.getParameterTypes().length == 1 && c.getParameterTypes()[0] == String.class) {
                        return c.newInstance(text);
                    }
                }
                for (String name : new String[] {"valueOf", "fromString", "of", "parse", "compile", "forName"}) {
                    for (Class<?> parameter : new Class<?>[] {String.class, CharSequence.class}) {
                        Method m = method(raw, name, parameter);
                        if (m != null && Modifier.isStatic(m.getModifiers()) && raw.isAssignableFrom(m.getReturnType())) {
                            return m.invoke(null, text);
                        }
                    }
                }
            } else {
                for (Class<?> parameter : new Class<?>[] {int.class, long.class, double.class}) {
                    if ((parameter == double.class) != (value instanceof Json.Decimal)) {
                        continue;
                    }
                    try {
                        return raw.getConstructor(parameter).newInstance(scalar(value, parameter, parameter));
                    } catch (NoSuchMethodException e) {
                        // The next one.
                    }
                }
            }
        } catch (InvocationTargetException e) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName() + "`, problem: " + e.getCause().getMessage(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName() + "`: " + e.getMessage(), e);
        }
        throw new MismatchException("Cannot construct instance of `" + raw.getName()
                + "` (although at least one Creator exists): no String-argument constructor/factory method to deserialize from "
                + (value instanceof String ? "String value ('" + value + "')" : "Number value (" + value + ")"), null);
    }

    private static Object instant(BigDecimal seconds) {
        BigDecimal whole = seconds.setScale(0, java.math.RoundingMode.FLOOR);
        return java.time.Instant.ofEpochSecond(whole.longValue(), seconds.subtract(whole).movePointRight(9).longValue());
    }

    private static Method method(Class<?> type, String name, Class<?> parameter) {
        try {
            return type.getMethod(name, parameter);
        } catch (NoSuchMethodException e) {
            return null;
        }
    }

    static Object make(Class<?> raw) {
        if (raw.isInterface() || Modifier.isAbstract(raw.getModifiers())) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName()
                    + "` (no Creators, like default constructor, exist): abstract types either need to be mapped to concrete types, "
                    + "have custom deserializer, or contain additional type information", null);
        }
        try {
            Constructor<?> constructor = raw.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        } catch (InvocationTargetException e) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName() + "`, problem: " + e.getCause().getMessage(), e.getCause());
        } catch (NoSuchMethodException e) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName()
                    + "` (no Creators, like default constructor, exist): cannot deserialize from Object value", e);
        } catch (ReflectiveOperationException e) {
            throw new MismatchException("Cannot construct instance of `" + raw.getName() + "`: " + e.getMessage(), e);
        }
    }

    /** The events of AWS's services count seconds. */
    private static Object milliseconds(Object seconds) {
        return seconds instanceof Number ? (Object) new BigDecimal(seconds.toString()).movePointRight(3).longValue() : seconds;
    }

    private static Object bean(Map<String, Object> value, Bean bean, Type type) {
        if (bean.isEvent() && bean.isFinal()) {
            return bean.constructed(value, type);
        }
        Object object = make(bean.type);
        for (Map.Entry<String, Object> e : value.entrySet()) {
            Bean.Property p = bean.property(e.getKey());
            if (p == null) {
                continue;
            }
            try {
                if (p.setter != null) {
                    Class<?> wanted = p.setter.getParameterTypes()[0];
                    Object member = bean.isEvent() && wanted == Date.class ? milliseconds(e.getValue()) : e.getValue();
                    p.setter.invoke(object, read(member, Types.resolve(p.setter.getGenericParameterTypes()[0], type)));
                } else if (p.settable() != null) {
                    p.settable().set(object, read(e.getValue(), Types.resolve(p.settable().getGenericType(), type)));
                }
            } catch (InvocationTargetException ex) {
                throw new MismatchException(ex.getCause().getMessage() + " (through reference chain: " + bean.type.getName() + "[\"" + e.getKey()
                        + "\"])", ex.getCause());
            } catch (IllegalAccessException ex) {
                throw new MismatchException(ex.getMessage(), ex);
            }
        }
        return object;
    }

    // ---- results

    static String write(Object value) {
        StringBuilder out = new StringBuilder(64);
        write(value, out, new IdentityHashMap<Object, Boolean>());
        return out.toString();
    }

    private static void write(Object value, StringBuilder out, IdentityHashMap<Object, Boolean> parents) {
        if (value == null || value instanceof Boolean) {
            out.append(value);
        } else if (value instanceof Double || value instanceof Float) {
            double d = ((Number) value).doubleValue();
            if (Double.isNaN(d) || Double.isInfinite(d)) {
                out.append('"').append(value).append('"');
            } else {
                out.append(value);
            }
        } else if (value instanceof Number && value.getClass().getName().startsWith("java.") || value instanceof Json.Decimal) {
            out.append(value);
        } else if (value instanceof CharSequence || value instanceof Character) {
            Json.quote(value.toString(), out);
        } else if (value instanceof Enum) {
            Json.quote(((Enum<?>) value).name(), out);
        } else if (value instanceof byte[]) {
            out.append('"').append(Base64.getEncoder().encodeToString((byte[]) value)).append('"');
        } else if (value instanceof char[]) {
            Json.quote(new String((char[]) value), out);
        } else if (value instanceof ByteBuffer) {
            ByteBuffer copy = ((ByteBuffer) value).duplicate();
            byte[] bytes = new byte[copy.remaining()];
            copy.get(bytes);
            out.append('"').append(Base64.getEncoder().encodeToString(bytes)).append('"');
        } else if (value instanceof Date) {
            out.append(((Date) value).getTime());
        } else if (value instanceof Calendar) {
            out.append(((Calendar) value).getTimeInMillis());
        } else if (value instanceof Class) {
            Json.quote(((Class<?>) value).getName(), out);
        } else if (value instanceof java.util.TimeZone) {
            Json.quote(((java.util.TimeZone) value).getID(), out);
        } else if (value instanceof java.util.Optional) {
            write(((java.util.Optional<?>) value).orElse(null), out, parents);
        } else if (value instanceof java.util.concurrent.atomic.AtomicBoolean) {
            out.append(value);
        } else if (text(value)) {
            Json.quote(value.toString(), out);
        } else {
            if (parents.size() > MAX_DEPTH || parents.put(value, Boolean.TRUE) != null) {
                throw new MismatchException("Infinite recursion (" + value.getClass().getName() + ")", null);
            }
            compound(value, out, parents);
            parents.remove(value);
        }
    }

    /** Classes of the platform whose value is their text. */
    private static boolean text(Object value) {
        String name = value.getClass().getName();
        return name.startsWith("java.time.") || name.equals("java.util.UUID") || name.equals("java.net.URI") || name.equals("java.net.URL")
                || name.equals("java.io.File") || name.equals("java.util.Locale") || name.equals("java.util.Currency")
                || name.equals("java.util.regex.Pattern") || value instanceof java.nio.file.Path || value instanceof java.nio.charset.Charset
                || value instanceof java.net.InetAddress || name.equals("org.joda.time.DateTime");
    }

    private static void compound(Object value, StringBuilder out, IdentityHashMap<Object, Boolean> parents) {
        String comma = "";
        if (value instanceof Map) {
            out.append('{');
            for (Map.Entry<?, ?> e : ((Map<?, ?>) value).entrySet()) {
                Object key = e.getKey();
                if (e.getValue() == null) {
                    continue; // as of beans
                }
                out.append(comma);
                if (key == null) {
                    throw new MismatchException("Null key for a Map not allowed in JSON (use a converting NullKeySerializer?)", null);
                }
                Json.quote(key instanceof Enum ? ((Enum<?>) key).name() : key.toString(), out);
                out.append(':');
                write(e.getValue(), out, parents);
                comma = ",";
            }
            out.append('}');
        } else if (value instanceof Iterable || value instanceof Iterator || value instanceof Enumeration) {
            Iterator<?> all = value instanceof Iterable ? ((Iterable<?>) value).iterator() : value instanceof Iterator ? (Iterator<?>) value
                    : java.util.Collections.list((Enumeration<?>) value).iterator();
            out.append('[');
            while (all.hasNext()) {
                out.append(comma);
                write(all.next(), out, parents);
                comma = ",";
            }
            out.append(']');
        } else if (value.getClass().isArray()) {
            out.append('[');
            for (int i = 0; i < Array.getLength(value); i++) {
                out.append(comma);
                write(Array.get(value, i), out, parents);
                comma = ",";
            }
            out.append(']');
        } else {
            out.append('{');
            for (Bean.Property p : Bean.of(value.getClass()).written()) {
                Object member;
                try {
                    member = p.getter != null ? p.getter.invoke(value) : p.field.get(value);
                } catch (InvocationTargetException e) {
                    throw new MismatchException(e.getCause() + " (through reference chain: " + value.getClass().getName() + "[\"" + p.name + "\"])",
                            e.getCause());
                } catch (IllegalAccessException e) {
                    throw new MismatchException(e.getMessage(), e);
                }
                if (member == null) {
                    continue;
                }
                out.append(comma);
                Json.quote(p.name, out);
                out.append(':');
                write(member, out, parents);
                comma = ",";
            }
            out.append('}');
        }
    }

    /** The members of a class. */
    static final class Bean {
        static final class Property {
            final String name;
            Field field; // of that name, whether public or not
            Method getter;
            Method setter;
            boolean visible; // there is a getter, a setter or a public field

            Property(String name) {
                this.name = name;
            }

            /** The field to set when there is no setter. */
            Field settable() {
                return field != null && Modifier.isPublic(field.getModifiers()) && !Modifier.isTransient(field.getModifiers())
                        && !Modifier.isFinal(field.getModifiers()) ? field : null;
            }
        }

        private static final Map<Class<?>, Bean> KNOWN = new HashMap<Class<?>, Bean>();

        final Class<?> type;
        private final Map<String, Property> properties = new LinkedHashMap<String, Property>();
        private final Map<String, Property> folded = new HashMap<String, Property>();
        private Class<?>[] componentTypes; // of a record
        private String[] componentNames;

        static synchronized Bean of(Class<?> type) {
            Bean bean = KNOWN.get(type);
            if (bean == null) {
                bean = new Bean(type);
                KNOWN.put(type, bean);
            }
            return bean;
        }

        private Bean(Class<?> type) {
            this.type = type;
            fields(type);
            boolean record = type.getSuperclass() != null && type.getSuperclass().getName().equals("java.lang.Record");
            if (record) {
                components();
            }
            methods(type, new HashSet<String>());
            Iterator<Property> all = properties.values().iterator();
            while (all.hasNext()) {
                Property p = all.next();
                if (!p.visible) {
                    all.remove();
                    continue;
                }
                open(p);
                // The event classes of AWS's libraries differ from the events in case and hyphens.
                String key = fold(p.name);
                if (!folded.containsKey(key)) {
                    folded.put(key, p);
                }
            }
        }

        private static String fold(String name) {
            return name.toLowerCase(java.util.Locale.ROOT).replace("-", "").replace("_", "");
        }

        private static void open(Property p) {
            try {
                if (p.field != null) {
                    p.field.setAccessible(true);
                }
                if (p.getter != null) {
                    p.getter.setAccessible(true);
                }
                if (p.setter != null) {
                    p.setter.setAccessible(true);
                }
            } catch (RuntimeException e) {
                p.field = p.field != null && Modifier.isPublic(p.field.getModifiers()) ? p.field : null; // a module that is not open
            }
        }

        private Property at(String name) {
            Property p = properties.get(name);
            if (p == null) {
                p = new Property(name);
                properties.put(name, p);
            }
            return p;
        }

        private void fields(Class<?> c) {
            if (c == null || c == Object.class) {
                return;
            }
            fields(c.getSuperclass());
            for (Field f : c.getDeclaredFields()) {
                int m = f.getModifiers();
                if (Modifier.isStatic(m) || f.isSynthetic() || (Modifier.isTransient(m) && !Modifier.isPublic(m))) {
                    continue;
                }
                Property p = at(f.getName());
                p.field = f;
                p.visible |= Modifier.isPublic(m) && !Modifier.isTransient(m);
            }
        }

        private void components() {
            try {
                Object[] components = (Object[]) Class.class.getMethod("getRecordComponents").invoke(type);
                componentTypes = new Class<?>[components.length];
                componentNames = new String[components.length];
                for (int i = 0; i < components.length; i++) {
                    Class<?> c = components[i].getClass();
                    componentNames[i] = (String) c.getMethod("getName").invoke(components[i]);
                    componentTypes[i] = (Class<?>) c.getMethod("getType").invoke(components[i]);
                    Property p = at(componentNames[i]);
                    p.getter = (Method) c.getMethod("getAccessor").invoke(components[i]);
                    p.visible = true;
                }
            } catch (ReflectiveOperationException e) {
                throw new MismatchException("Cannot read record " + type.getName() + ": " + e.getMessage(), e);
            }
        }

        private void methods(Class<?> c, java.util.Set<String> seen) {
            if (c == null || c == Object.class || c.getName().equals("java.lang.Record")) {
                return;
            }
            for (Method m : c.getDeclaredMethods()) {
                String name = m.getName();
                Class<?>[] parameters = m.getParameterTypes();
                if (Modifier.isStatic(m.getModifiers()) || m.isBridge() || m.isSynthetic()) {
                    continue;
                }
                if (parameters.length == 1 && name.startsWith("set") && name.length() > 3) {
                    Property p = at(mangle(name, 3));
                    // Of overloads the one that fits the getter or the field.
                    if (p.setter == null || parameters[0] == wanted(p)) {
                        p.setter = m;
                    }
                    p.visible = true;
                } else if (parameters.length == 0 && Modifier.isPublic(m.getModifiers()) && m.getReturnType() != void.class
                        && seen.add(name) && !name.equals("getClass") && !name.equals("getMetaClass")) {
                    boolean is = m.getReturnType() == boolean.class || m.getReturnType() == Boolean.class;
                    Property p = null;
                    if (name.startsWith("get") && name.length() > 3) {
                        p = at(mangle(name, 3));
                    } else if (name.startsWith("is") && name.length() > 2 && is) {
                        p = at(mangle(name, 2));
                    }
                    if (p != null && (p.getter == null || name.startsWith("get"))) {
                        p.getter = m;
                        p.visible = true;
                    }
                }
            }
            methods(c.getSuperclass(), seen);
            for (Class<?> i : c.getInterfaces()) {
                methods(i, seen);
            }
        }

        private static Class<?> wanted(Property p) {
            return p.getter != null ? p.getter.getReturnType() : p.field != null ? p.field.getType() : null;
        }

        /** The property of an accessor, as the specification of Java Beans has it: URL stays, Name is name. */
        private static String mangle(String name, int from) {
            if (name.length() > from + 1 && Character.isUpperCase(name.charAt(from)) && Character.isUpperCase(name.charAt(from + 1))) {
                return name.substring(from);
            }
            return Character.toLowerCase(name.charAt(from)) + name.substring(from + 1);
        }

        Property property(String name) {
            Property p = properties.get(name);
            return p != null || !isEvent() ? p : folded.get(fold(name));
        }

        /** One of the classes of aws-lambda-java-events. */
        boolean isEvent() {
            return type.getName().startsWith(Contexts.PACKAGE + "events.");
        }

        /** Nothing of it can be set. */
        boolean isFinal() {
            for (Property p : properties.values()) {
                if (p.setter != null || p.settable() != null) {
                    return false;
                }
            }
            return true;
        }

        /** Makes an event whose constructor takes all its fields, in order. */
        Object constructed(Map<String, Object> value, Type declared) {
            List<Field> fields = new ArrayList<Field>();
            for (Class<?> c = type; c != Object.class && fields.isEmpty(); c = c.getSuperclass()) {
                for (Field f : c.getDeclaredFields()) {
                    if (!Modifier.isStatic(f.getModifiers()) && !f.isSynthetic()) {
                        fields.add(f);
                    }
                }
            }
            Map<String, Object> members = new HashMap<String, Object>();
            for (Map.Entry<String, Object> e : value.entrySet()) {
                members.put(fold(e.getKey()), e.getValue());
            }
            for (Constructor<?> c : type.getDeclaredConstructors()) {
                Type[] parameters = c.getGenericParameterTypes();
                if (parameters.length != fields.size()) {
                    continue;
                }
                Object[] arguments = new Object[parameters.length];
                for (int i = 0; i < arguments.length; i++) {
                    arguments[i] = read(members.get(fold(fields.get(i).getName())), Types.resolve(parameters[i], declared));
                }
                try {
                    c.setAccessible(true);
                    return c.newInstance(arguments);
                } catch (ReflectiveOperationException e) {
                    throw new MismatchException("Cannot construct instance of `" + type.getName() + "`: " + e.getMessage(), e);
                }
            }
            throw new MismatchException("Cannot construct instance of `" + type.getName() + "` (no Creators, like default constructor, exist)", null);
        }

        boolean isRecord() {
            return componentNames != null;
        }

        Object record(Map<String, Object> value, Type declared) {
            Object[] arguments = new Object[componentNames.length];
            try {
                Constructor<?> constructor = type.getDeclaredConstructor(componentTypes);
                constructor.setAccessible(true);
                Type[] generic = constructor.getGenericParameterTypes();
                for (int i = 0; i < arguments.length; i++) {
                    arguments[i] = read(value.get(componentNames[i]), Types.resolve(generic[i], declared));
                }
                return constructor.newInstance(arguments);
            } catch (InvocationTargetException e) {
                throw new MismatchException("Cannot construct instance of `" + type.getName() + "`, problem: " + e.getCause().getMessage(), e.getCause());
            } catch (ReflectiveOperationException e) {
                throw new MismatchException("Cannot construct instance of `" + type.getName() + "`: " + e.getMessage(), e);
            }
        }

        List<Property> written() {
            List<Property> out = new ArrayList<Property>(properties.size());
            for (Property p : properties.values()) {
                boolean field = p.field != null && Modifier.isPublic(p.field.getModifiers()) && !Modifier.isTransient(p.field.getModifiers());
                if (p.getter != null || field) {
                    out.add(p);
                }
            }
            return out;
        }
    }
}
