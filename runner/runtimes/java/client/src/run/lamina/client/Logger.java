package run.lamina.client;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.text.SimpleDateFormat;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/** What stands behind the function's LambdaLogger. */
final class Logger {
    private static final List<String> LEVELS = Arrays.asList("UNDEFINED", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL");

    private final boolean json;
    private final int threshold;
    /** Takes frames, or is null: then events of several lines come apart. */
    private final OutputStream frames;
    volatile String requestId;

    Logger(Map<String, String> environment) {
        json = "JSON".equalsIgnoreCase(environment.get("AWS_LAMBDA_LOG_FORMAT"));
        String level = environment.get("AWS_LAMBDA_LOG_LEVEL");
        threshold = level == null ? -1 : LEVELS.indexOf(level.toUpperCase(Locale.ROOT));
        frames = open(environment.get(Main.LOG_VARIABLE));
    }

    private static OutputStream open(String number) {
        if (number == null) {
            return null;
        }
        try {
            return new FileOutputStream("/proc/self/fd/" + number);
        } catch (IOException e) {
            return null; // a wrapper closed it
        }
    }

    boolean isJson() {
        return json;
    }

    void error(String message) {
        log(message, json ? "ERROR" : "UNDEFINED");
    }

    /** Writes one event. What has no level is always wanted. */
    void log(String message, String level) {
        int rank = LEVELS.indexOf(level);
        if (rank > 0 && rank < threshold) {
            return;
        }
        String text = message == null ? "null" : message;
        if (json) {
            Map<String, Object> line = new LinkedHashMap<String, Object>();
            SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", Locale.ROOT);
            format.setTimeZone(TimeZone.getTimeZone("UTC"));
            line.put("timestamp", format.format(new Date()));
            line.put("message", text);
            line.put("level", level);
            if (requestId != null) {
                line.put("AWSRequestId", requestId);
            }
            text = Json.write(line);
        } else if (rank > 0) {
            text = "[" + level + "] " + text;
        }
        if (frames == null || !write(text, rank)) {
            synchronized (System.out) {
                System.out.print(text.endsWith("\n") ? text : text + "\n");
                System.out.flush();
            }
        }
    }

    /** Writes a frame: a type, the text's length, the time in microseconds, the text. */
    private boolean write(String text, int rank) {
        byte[] bytes = Main.utf8(text);
        ByteBuffer frame = ByteBuffer.allocate(16 + bytes.length);
        frame.putInt((json ? 0xa55a0002 : 0xa55a0003) + 4 * Math.max(rank, 0));
        frame.putInt(bytes.length);
        frame.putLong(System.currentTimeMillis() * 1000);
        frame.put(bytes);
        System.out.flush(); // what came before it
        try {
            frames.write(frame.array()); // in one piece, so that nothing comes between
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
