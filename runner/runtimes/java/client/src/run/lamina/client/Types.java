package run.lamina.client;

import java.lang.reflect.Array;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.util.HashMap;
import java.util.Map;

/** What generic declarations mean at a place where they are used. */
final class Types {
    private Types() {}

    /** A class with its type arguments. */
    static final class Bound implements ParameterizedType {
        private final Class<?> raw;
        private final Type[] arguments;

        Bound(Class<?> raw, Type[] arguments) {
            this.raw = raw;
            this.arguments = arguments;
        }

        @Override
        public Type[] getActualTypeArguments() {
            return arguments.clone();
        }

        @Override
        public Type getRawType() {
            return raw;
        }

        @Override
        public Type getOwnerType() {
            return raw.getEnclosingClass();
        }

        @Override
        public String toString() {
            return raw.getName() + java.util.Arrays.toString(arguments);
        }
    }

    /** The arguments that type gives to the parameters of its supertype, or null when they are not concrete. */
    static Type[] arguments(Type type, Class<?> supertype) {
        Map<TypeVariable<?>, Type> bindings = new HashMap<TypeVariable<?>, Type>();
        collect(type, bindings);
        TypeVariable<?>[] variables = supertype.getTypeParameters();
        Type[] out = new Type[variables.length];
        for (int i = 0; i < variables.length; i++) {
            if (!bindings.containsKey(variables[i])) {
                return null;
            }
            out[i] = substitute(variables[i], bindings, 0);
        }
        return out;
    }

    /** Replaces the type variables in a declaration by what they are in a class. */
    static Type resolve(Type declared, Type in) {
        if (declared instanceof Class) {
            return declared;
        }
        Map<TypeVariable<?>, Type> bindings = new HashMap<TypeVariable<?>, Type>();
        collect(in, bindings);
        return substitute(declared, bindings, 0);
    }

    private static void collect(Type type, Map<TypeVariable<?>, Type> bindings) {
        if (type instanceof ParameterizedType) {
            ParameterizedType p = (ParameterizedType) type;
            TypeVariable<?>[] variables = ((Class<?>) p.getRawType()).getTypeParameters();
            Type[] arguments = p.getActualTypeArguments();
            for (int i = 0; i < variables.length && i < arguments.length; i++) {
                bindings.put(variables[i], arguments[i]);
            }
        }
        Class<?> raw = raw(type);
        if (raw == Object.class) {
            return;
        }
        if (raw.getGenericSuperclass() != null) {
            collect(raw.getGenericSuperclass(), bindings);
        }
        for (Type i : raw.getGenericInterfaces()) {
            collect(i, bindings);
        }
    }

    private static Type substitute(Type type, Map<TypeVariable<?>, Type> bindings, int depth) {
        if (type instanceof TypeVariable) {
            Type bound = bindings.get(type);
            if (bound == null || bound == type || depth > 32) {
                return substitute(((TypeVariable<?>) type).getBounds()[0], bindings, depth + 1);
            }
            return substitute(bound, bindings, depth + 1);
        }
        if (type instanceof WildcardType) {
            return substitute(((WildcardType) type).getUpperBounds()[0], bindings, depth + 1);
        }
        if (type instanceof ParameterizedType) {
            if (depth > 32) {
                return ((ParameterizedType) type).getRawType(); // T extends Comparable<T>
            }
            Type[] arguments = ((ParameterizedType) type).getActualTypeArguments();
            for (int i = 0; i < arguments.length; i++) {
                arguments[i] = substitute(arguments[i], bindings, depth + 1);
            }
            return new Bound((Class<?>) ((ParameterizedType) type).getRawType(), arguments);
        }
        if (type instanceof GenericArrayType) {
            Type component = substitute(((GenericArrayType) type).getGenericComponentType(), bindings, depth + 1);
            return Array.newInstance(raw(component), 0).getClass();
        }
        return type;
    }

    static Class<?> raw(Type type) {
        if (type instanceof Class) {
            return (Class<?>) type;
        }
        if (type instanceof ParameterizedType) {
            return (Class<?>) ((ParameterizedType) type).getRawType();
        }
        if (type instanceof TypeVariable) {
            return raw(((TypeVariable<?>) type).getBounds()[0]);
        }
        if (type instanceof WildcardType) {
            return raw(((WildcardType) type).getUpperBounds()[0]);
        }
        if (type instanceof GenericArrayType) {
            return Array.newInstance(raw(((GenericArrayType) type).getGenericComponentType()), 0).getClass();
        }
        return Object.class;
    }

    /** The n-th type argument of a type as seen from one of its supertypes; Object when it has none. */
    static Type argument(Type type, Class<?> supertype, int n) {
        Type[] arguments = arguments(type, supertype);
        return arguments == null || n >= arguments.length ? Object.class : arguments[n];
    }
}
