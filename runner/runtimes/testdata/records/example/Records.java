package example;

import java.util.List;

/** Needs Java 17. */
public class Records {
    public record Point(int x, Integer y, List<String> names) {
        public String getLabel() {
            return x + "/" + y;
        }
    }

    public Point point(Point p) {
        return p;
    }
}
