package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.events.APIGatewayProxyRequestEvent;
import com.amazonaws.services.lambda.runtime.events.APIGatewayProxyResponseEvent;
import com.amazonaws.services.lambda.runtime.events.DynamodbEvent;
import com.amazonaws.services.lambda.runtime.events.KinesisEvent;
import com.amazonaws.services.lambda.runtime.events.S3Event;
import com.amazonaws.services.lambda.runtime.events.SNSEvent;
import com.amazonaws.services.lambda.runtime.events.SQSEvent;
import com.amazonaws.services.lambda.runtime.events.ScheduledEvent;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/** Methods that the tests name as handlers. */
public class Handlers {
    public enum Size {
        SMALL,
        LARGE {
            @Override
            public String toString() {
                return "quite large";
            }
        }
    }

    public static class Address {
        public String street;
        public transient String ignored = "transient";
        private int number;
        protected String hidden = "hidden";

        public int getNumber() {
            return number;
        }

        public void setNumber(int number) {
            this.number = number;
        }
    }

    public static class Base<T> {
        private T item;
        private String base;

        public T getItem() {
            return item;
        }

        public void setItem(T item) {
            this.item = item;
        }

        public String getBase() {
            return base;
        }

        public void setBase(String base) {
            this.base = base;
        }
    }

    public static class Person extends Base<Address> {
        private String name;
        private int age;
        private Integer boxed;
        private Long count;
        private boolean active;
        private Boolean flag;
        private double ratio;
        private BigDecimal price;
        private char letter;
        private Size size;
        private List<String> tags;
        private Set<Integer> numbers;
        private Map<String, Address> addresses;
        private Map<Size, Integer> sizes;
        private Address[] array;
        private int[] ints;
        private byte[] data;
        private Object anything;
        private String URL;
        private String xRay;
        private String aB;
        private String onlyRead = "only read";
        private final List<String> filled = new ArrayList<>();

        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public int getAge() { return age; }
        public void setAge(int age) { this.age = age; }
        public Integer getBoxed() { return boxed; }
        public void setBoxed(Integer boxed) { this.boxed = boxed; }
        public Long getCount() { return count; }
        public void setCount(Long count) { this.count = count; }
        public boolean isActive() { return active; }
        public void setActive(boolean active) { this.active = active; }
        public Boolean getFlag() { return flag; }
        public void setFlag(Boolean flag) { this.flag = flag; }
        public double getRatio() { return ratio; }
        public void setRatio(double ratio) { this.ratio = ratio; }
        public BigDecimal getPrice() { return price; }
        public void setPrice(BigDecimal price) { this.price = price; }
        public char getLetter() { return letter; }
        public void setLetter(char letter) { this.letter = letter; }
        public Size getSize() { return size; }
        public void setSize(Size size) { this.size = size; }
        public List<String> getTags() { return tags; }
        public void setTags(List<String> tags) { this.tags = tags; }
        public Set<Integer> getNumbers() { return numbers; }
        public void setNumbers(Set<Integer> numbers) { this.numbers = numbers == null ? null : new TreeSet<>(numbers); }
        public Map<String, Address> getAddresses() { return addresses; }
        public void setAddresses(Map<String, Address> addresses) { this.addresses = addresses; }
        public Map<Size, Integer> getSizes() { return sizes; }
        public void setSizes(Map<Size, Integer> sizes) { this.sizes = sizes; }
        public Address[] getArray() { return array; }
        public void setArray(Address[] array) { this.array = array; }
        public int[] getInts() { return ints; }
        public void setInts(int[] ints) { this.ints = ints; }
        public byte[] getData() { return data; }
        public void setData(byte[] data) { this.data = data; }
        public Object getAnything() { return anything; }
        public void setAnything(Object anything) { this.anything = anything; }
        public String getURL() { return URL; }
        public void setURL(String url) { this.URL = url; }
        public String getXRay() { return xRay; }
        public void setXRay(String x) { this.xRay = x; }
        public String getaB() { return aB; }
        public void setaB(String b) { this.aB = b; }
        public String getOnlyRead() { return onlyRead; }
        public List<String> getFilled() { return filled; }
        public String noGetter() { return "no"; }
        String getPackage() { return "no"; }
        public static String getStatic() { return "no"; }
    }

    public static class Wrapped {
        private final String text;

        public Wrapped(String text) {
            this.text = "<" + text + ">";
        }

        public String getText() {
            return text;
        }
    }

    public static class NoDefault {
        public String x;

        public NoDefault(String a, String b) {
            x = a + b;
        }
    }

    public static class Empty {}

    public static class Cycle {
        public Cycle self = this;
    }

    public Person person(Person p) { return p; }
    public Address address(Address a) { return a; }
    public Base<Person> generic(Base<Person> b) { return b; }
    public Map<String, Object> map(Map<String, Object> m) { return m == null ? null : new TreeMap<>(m); }
    public Object any(Object o) { return o; }
    public String type(Object o) { return o == null ? "null" : o.getClass().getName(); }
    public String text(String s) { return s; }
    public int integer(int i) { return i; }
    public Long number(Long i) { return i; }
    public double decimal(double d) { return d; }
    public boolean bool(boolean b) { return b; }
    public Size size(Size s) { return s; }
    public List<Address> list(List<Address> l) { return l; }
    public Wrapped wrapped(Wrapped w) { return w; }
    public NoDefault noDefault(NoDefault n) { return n; }
    public Date date(Date d) { return d; }
    public void nothing(Map<String, Object> m) {}
    public String none() { return "no parameters"; }
    public static String fixed(String s) { return "static " + s; }
    public String withContext(Context c) { return c.getFunctionName(); }
    public Object empty() { return new Empty(); }
    public Object cycle() { return new Cycle(); }
    public Object special() {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("nan", Double.NaN);
        m.put("null", null);
        m.put("float", 1.5f);
        m.put("big", new BigDecimal("12345678901234567890.5"));
        m.put("chars", "a\"\\\u0001\u2028/<ü😀".toCharArray());
        m.put("size", Size.LARGE);
        m.put("class", String.class);
        m.put("list", Collections.singleton(1));
        m.put("array", new Object[] {1, "x", null});
        m.put("uuid", java.util.UUID.fromString("00000000-0000-0001-0000-000000000002"));
        return m;
    }
    public String overloaded(String s) { return "one"; }
    public String overloaded(String s, Context c) { return "two with context"; }
    public String raise(Map<String, String> m) { throw new IllegalStateException(m.get("text"), new RuntimeException("the cause")); }
    public String error(Object o) { throw new AssertionError("an error"); }
    public String checked(Object o) throws IOException { throw new IOException("checked"); }

    public void stream(InputStream in, OutputStream out, Context c) throws IOException {
        byte[] buf = new byte[8192];
        out.write(c.getAwsRequestId().getBytes("UTF-8"));
        for (int n = in.read(buf); n >= 0; n = in.read(buf)) {
            out.write(buf, 0, n);
        }
    }

    public Map<String, Object> context(Map<String, Object> m, Context c) {
        Map<String, Object> out = new TreeMap<>();
        out.put("id", c.getAwsRequestId());
        out.put("arn", c.getInvokedFunctionArn());
        out.put("name", c.getFunctionName());
        out.put("version", c.getFunctionVersion());
        out.put("memory", c.getMemoryLimitInMB());
        out.put("group", c.getLogGroupName());
        out.put("stream", c.getLogStreamName());
        out.put("left", c.getRemainingTimeInMillis() > 0);
        out.put("identity", c.getIdentity() == null ? "none" : String.valueOf(c.getIdentity().getIdentityId()));
        out.put("title", c.getClientContext().getClient().getAppTitle());
        out.put("custom", c.getClientContext().getCustom());
        out.put("env", c.getClientContext().getEnvironment());
        out.put("trace", System.getProperty("com.amazonaws.xray.traceHeader"));
        return out;
    }

    public String log(Object o, Context c) {
        System.out.println("printed");
        c.getLogger().log("logged");
        c.getLogger().log("with a level", com.amazonaws.services.lambda.runtime.logging.LogLevel.WARN);
        LambdaRuntime.getLogger().log("by the runtime\n");
        System.err.println("to stderr");
        return c.toString().isEmpty() ? "" : "ok";
    }

    public Map<String, Object> sqs(SQSEvent e) {
        SQSEvent.SQSMessage m = e.getRecords().get(0);
        return of("id", m.getMessageId(), "body", m.getBody(), "arn", m.getEventSourceArn(), "attr", m.getAttributes(),
                "value", m.getMessageAttributes().get("k").getStringValue());
    }

    public Map<String, Object> sns(SNSEvent e) {
        SNSEvent.SNSRecord r = e.getRecords().get(0);
        return of("message", r.getSNS().getMessage(), "source", r.getEventSource(), "time", r.getSNS().getTimestamp().getMillis(),
                "topic", r.getSNS().getTopicArn());
    }

    public Map<String, Object> kinesis(KinesisEvent e) {
        KinesisEvent.Record r = e.getRecords().get(0).getKinesis();
        return of("data", new String(r.getData().array()), "key", r.getPartitionKey(), "at", r.getApproximateArrivalTimestamp().getTime());
    }

    public Map<String, Object> dynamodb(DynamodbEvent e) {
        DynamodbEvent.DynamodbStreamRecord r = e.getRecords().get(0);
        return of("name", r.getEventName(), "key", r.getDynamodb().getKeys().get("Id").getN(), "text",
                r.getDynamodb().getNewImage().get("Message").getS(), "arn", r.getEventSourceARN());
    }

    public Map<String, Object> s3(S3Event e) {
        return of("bucket", e.getRecords().get(0).getS3().getBucket().getName(), "key", e.getRecords().get(0).getS3().getObject().getUrlDecodedKey(),
                "time", e.getRecords().get(0).getEventTime().getMillis());
    }

    public Map<String, Object> scheduled(ScheduledEvent e) {
        return of("type", e.getDetailType(), "time", e.getTime().getMillis(), "detail", e.getDetail());
    }

    public APIGatewayProxyResponseEvent gateway(APIGatewayProxyRequestEvent e) {
        return new APIGatewayProxyResponseEvent().withStatusCode(200).withBody(e.getPath() + e.getBody())
                .withHeaders(Collections.singletonMap("x", e.getHeaders().get("Host"))).withIsBase64Encoded(e.getIsBase64Encoded());
    }

    private static Map<String, Object> of(Object... pairs) {
        Map<String, Object> out = new TreeMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            out.put((String) pairs[i], pairs[i + 1]);
        }
        return out;
    }
}
