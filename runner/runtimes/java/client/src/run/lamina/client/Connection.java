package run.lamina.client;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** One kept connection to the Runtime API, with as much of HTTP as that speaks. */
final class Connection {
    /** An answer's headers, in lower case, and its body. */
    static final class Answer {
        final Map<String, String> headers = new HashMap<String, String>();
        byte[] body;

        String header(String name) {
            return headers.get(name);
        }
    }

    private static final String API = "/2018-06-01/runtime/";

    private final String address;
    private final InputStream in;
    private final OutputStream out;
    private final byte[] next;
    private byte[] buffer = new byte[8192];
    private int from; // the first byte of buffer that nobody took
    private int to;

    Connection(String address) throws IOException {
        this.address = address;
        int colon = address.lastIndexOf(':');
        Socket socket = new Socket();
        socket.setTcpNoDelay(true);
        socket.connect(new InetSocketAddress(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1))));
        in = socket.getInputStream();
        out = socket.getOutputStream();
        next = (head("GET", "invocation/next") + "\r\n").getBytes(StandardCharsets.US_ASCII);
    }

    private String head(String method, String path) {
        return method + " " + API + path + " HTTP/1.1\r\nHost: " + address + "\r\n";
    }

    void ask() throws IOException {
        out.write(next);
    }

    /** Sends a body, and with ask the request for the next invocation after it. */
    void post(String path, byte[] body, String errorType, boolean ask) throws IOException {
        StringBuilder head = new StringBuilder(256);
        head.append(head("POST", path)).append("Content-Type: application/json\r\n");
        if (errorType != null) {
            head.append("Lambda-Runtime-Function-Error-Type: ").append(errorType).append("\r\n");
        }
        head.append("Content-Length: ").append(body.length).append("\r\n\r\n");
        byte[] text = head.toString().getBytes(StandardCharsets.US_ASCII);
        if (body.length < 1 << 16) {
            int more = ask ? next.length : 0;
            byte[] all = new byte[text.length + body.length + more];
            System.arraycopy(text, 0, all, 0, text.length);
            System.arraycopy(body, 0, all, text.length, body.length);
            System.arraycopy(next, 0, all, text.length + body.length, more);
            out.write(all);
            return;
        }
        out.write(text);
        out.write(body);
        if (ask) {
            out.write(next);
        }
    }

    Answer receive() throws IOException {
        Answer answer = new Answer();
        line();
        for (String line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                answer.headers.put(line.substring(0, colon).toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
            }
        }
        String length = answer.header("content-length");
        answer.body = new byte[length == null ? 0 : Integer.parseInt(length)];
        int have = Math.min(to - from, answer.body.length);
        System.arraycopy(buffer, from, answer.body, 0, have);
        from += have;
        while (have < answer.body.length) {
            have += read(answer.body, have, answer.body.length - have);
        }
        return answer;
    }

    /** Reads one line without its end. */
    private String line() throws IOException {
        for (int at = from; ; at++) {
            if (at == to) {
                int start = from;
                fill();
                at -= start - from;
            }
            if (buffer[at] == '\n') {
                int end = at > from && buffer[at - 1] == '\r' ? at - 1 : at;
                String line = new String(buffer, from, end - from, StandardCharsets.UTF_8);
                from = at + 1;
                return line;
            }
        }
    }

    private void fill() throws IOException {
        if (from > 0) {
            System.arraycopy(buffer, from, buffer, 0, to - from);
            to -= from;
            from = 0;
        }
        if (to == buffer.length) {
            byte[] larger = new byte[2 * to];
            System.arraycopy(buffer, 0, larger, 0, to);
            buffer = larger;
        }
        to += read(buffer, to, buffer.length - to);
    }

    private int read(byte[] into, int at, int length) throws IOException {
        int n;
        try {
            n = in.read(into, at, length);
        } catch (IOException e) {
            n = -1;
        }
        if (n < 0) {
            Runtime.getRuntime().halt(0); // the Runtime API is gone: nobody waits for an answer
            throw new EOFException();
        }
        return n;
    }
}
