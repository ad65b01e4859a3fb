package example;

import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** Gives one type parameter of two. */
public abstract class Above<T> implements RequestHandler<T, Map<String, T>> {}
