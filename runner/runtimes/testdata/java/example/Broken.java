package example;

/** Classes that can't be handlers. */
public class Broken {
    static {
        if (true) {
            throw new IllegalArgumentException("at start");
        }
    }

    public static class Constructor {
        public Constructor() {
            throw new IllegalArgumentException("in the constructor");
        }

        public String run(String s) {
            return s;
        }
    }

    public static class Private {
        private Private() {}

        public String run(String s) {
            return s;
        }
    }

    public class Inner {
        public String run(String s) {
            return s;
        }
    }

    public String run(String s) {
        return s;
    }
}
