package example;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.Map;

/** A handler whose types are given in a class above it. */
public class Typed extends Above<Handlers.Address> {
    private static int count;

    @Override
    public Map<String, Handlers.Address> handleRequest(Handlers.Address in, Context context) {
        if (in.street != null && in.street.equals("raise")) {
            throw new UnsupportedOperationException();
        }
        in.setNumber(in.getNumber() + ++count);
        return java.util.Collections.singletonMap("address", in);
    }
}
