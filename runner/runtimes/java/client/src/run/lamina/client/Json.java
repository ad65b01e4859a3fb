package run.lamina.client;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON as plain objects: LinkedHashMap, ArrayList, String, Integer, Long, BigInteger, Double, Boolean and null. A number
 * with a fraction is a Double that remembers how it was written, for those who want a BigDecimal.
 */
final class Json {
    /** Why a text is no JSON. */
    static final class SyntaxException extends RuntimeException {
        private static final long serialVersionUID = 1;

        SyntaxException(String message) {
            super(message);
        }
    }

    /** A number with a fraction or exponent, as it was written. */
    static final class Decimal extends Number {
        private static final long serialVersionUID = 1;

        final String text;

        Decimal(String text) {
            this.text = text;
        }

        @Override
        public int intValue() {
            return (int) doubleValue();
        }

        @Override
        public long longValue() {
            return new BigDecimal(text).longValue();
        }

        @Override
        public float floatValue() {
            return Float.parseFloat(text);
        }

        @Override
        public double doubleValue() {
            return Double.parseDouble(text);
        }

        @Override
        public String toString() {
            return text;
        }
    }

    private static final int MAX_DEPTH = 1000;

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static Object parse(byte[] data) {
        Json json = new Json(new String(data, StandardCharsets.UTF_8));
        Object value = json.value();
        json.space();
        if (json.at < json.text.length()) {
            throw json.unexpected();
        }
        return value;
    }

    private void space() {
        while (at < text.length() && (text.charAt(at) == ' ' || text.charAt(at) == '\n' || text.charAt(at) == '\r' || text.charAt(at) == '\t')) {
            at++;
        }
    }

    private SyntaxException unexpected() {
        return new SyntaxException(at < text.length() ? "Unexpected character ('" + text.charAt(at) + "') at " + at : "Unexpected end-of-input");
    }

    private boolean take(char c) {
        space();
        if (at < text.length() && text.charAt(at) == c) {
            at++;
            return true;
        }
        return false;
    }

    private Object value() {
        space();
        if (at == text.length()) {
            throw unexpected();
        }
        switch (text.charAt(at)) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            case 'N':
                return word("NaN", Double.valueOf(Double.NaN));
            default:
                return number();
        }
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw unexpected();
        }
        at += word.length();
        return value;
    }

    private void enter() {
        at++;
        if (++depth > MAX_DEPTH) {
            throw new SyntaxException("Document nesting depth exceeds the maximum allowed (" + MAX_DEPTH + ")");
        }
    }

    private Map<String, Object> object() {
        enter();
        Map<String, Object> map = new LinkedHashMap<String, Object>();
        if (!take('}')) {
            do {
                space();
                if (at == text.length() || text.charAt(at) != '"') {
                    throw unexpected();
                }
                String name = string();
                if (!take(':')) {
                    throw unexpected();
                }
                map.put(name, value());
            } while (take(','));
            if (!take('}')) {
                throw unexpected();
            }
        }
        depth--;
        return map;
    }

    private List<Object> array() {
        enter();
        List<Object> list = new ArrayList<Object>();
        if (!take(']')) {
            do {
                list.add(value());
            } while (take(','));
            if (!take(']')) {
                throw unexpected();
            }
        }
        depth--;
        return list;
    }

    private String string() {
        int start = ++at;
        StringBuilder out = null;
        for (; ; at++) {
            if (at == text.length()) {
                throw unexpected();
            }
            char c = text.charAt(at);
            if (c == '"') {
                String plain = text.substring(start, at++);
                return out == null ? plain : out.append(plain).toString();
            }
            if (c < ' ') {
                throw unexpected();
            }
            if (c != '\\') {
                continue;
            }
            if (out == null) {
                out = new StringBuilder();
            }
            out.append(text, start, at++);
            if (at == text.length()) {
                throw unexpected();
            }
            c = text.charAt(at);
            int escape = "\"\\/bfnrt".indexOf(c);
            if (escape >= 0) {
                out.append("\"\\/\b\f\n\r\t".charAt(escape));
            } else if (c == 'u' && at + 4 < text.length()) {
                try {
                    out.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                } catch (NumberFormatException e) {
                    throw unexpected();
                }
                at += 4;
            } else {
                throw unexpected();
            }
            start = at + 1;
        }
    }

    private Number number() {
        int start = at;
        boolean whole = true;
        if (text.charAt(at) == '-') {
            at++;
        }
        int digits = at;
        for (; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c >= '0' && c <= '9') {
                continue;
            }
            if (c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-') {
                break;
            }
            whole = false;
        }
        String number = text.substring(start, at);
        try {
            if (at == digits || (text.charAt(digits) == '0' && at > digits + 1 && whole) || text.charAt(digits) == '+') {
                throw new NumberFormatException();
            }
            if (!whole) {
                new BigDecimal(number); // checks it
                return new Decimal(number);
            }
            if (number.length() < 10) {
                return Integer.valueOf(number);
            }
            BigInteger big = new BigInteger(number);
            if (big.bitLength() < 32) {
                return Integer.valueOf(big.intValue());
            }
            return big.bitLength() < 64 ? (Number) Long.valueOf(big.longValue()) : big;
        } catch (NumberFormatException e) {
            at = start;
            throw unexpected();
        }
    }

    /** Writes plain objects; anything else as its text. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    private static void write(Object value, StringBuilder out) {
        if (value instanceof Map) {
            String comma = "{";
            for (Map.Entry<?, ?> e : ((Map<?, ?>) value).entrySet()) {
                out.append(comma);
                quote(String.valueOf(e.getKey()), out);
                out.append(':');
                write(e.getValue(), out);
                comma = ",";
            }
            out.append(comma.equals("{") ? "{}" : "}");
        } else if (value instanceof Iterable) {
            String comma = "[";
            for (Object o : (Iterable<?>) value) {
                out.append(comma);
                write(o, out);
                comma = ",";
            }
            out.append(comma.equals("[") ? "[]" : "]");
        } else if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else {
            quote(value.toString(), out);
        }
    }

    static void quote(String text, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c >= ' ' && !Character.isSurrogate(c)) {
                out.append(c);
            } else {
                int escape = "\b\f\n\r\t".indexOf(c);
                if (escape >= 0) {
                    out.append('\\').append("bfnrt".charAt(escape));
                } else {
                    String hex = Integer.toHexString(c).toUpperCase(java.util.Locale.ROOT);
                    out.append("\\u").append("0000".substring(hex.length())).append(hex);
                }
            }
        }
        out.append('"');
    }
}
