"""Lamina's runtime client for Python 3.6 and later.

It runs inside the sandbox: it imports the function's module, then asks the
Runtime API for invocations and answers them, one at a time, over one kept
connection. Cold start is what it is written for. It imports next to nothing: json
alone, which brings re, enum and collections, would take as long as all the rest,
so it uses the C half of json. It speaks HTTP on a bare socket, sets up logging
only if the function imports logging, and sends each result together with the
request for the next invocation.
"""
import _socket
import os
import sys
from importlib import import_module
from time import gmtime, strftime, time

try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
except ImportError:  # an interpreter without the C half
    make_scanner = None

_VERSION = sys.version_info[:2]
_API = "/2018-06-01/runtime/"
_NO_BREAK = "\u00a0"
_HERE = (__file__, os.path.join(os.path.dirname(__file__), "bootstrap.py"))

_request_id = None  # of the invocation that runs
_tenant_id = None
_log_fd = None  # where frames go; None without

# Of a frame that is JSON, and the same with a bit for one that is text. The level,
# of logging, adds to it.
_FRAME = 0xA55A0002
_TEXT = 1


def _refuse(value):
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


if make_scanner is None:
    from json import dumps, loads
else:
    class _Settings(object):
        """What the decoder of json hands its scanner."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__
        memo = {}

    _scan = make_scanner(_Settings)

    def loads(text):
        try:
            value, end = _scan(text, len(text) - len(text.lstrip(" \t\r\n")))
        except StopIteration as e:
            raise ValueError("Expecting value: char %s" % e.value)
        if end != len(text) and text[end:].strip(" \t\r\n"):
            raise ValueError("Extra data: char %d" % end)
        return value

    def dumps(value, ensure_ascii=True, default=None):
        string = encode_basestring_ascii if ensure_ascii else encode_basestring
        if isinstance(value, str):
            return string(value)
        return "".join(make_encoder({}, default or _refuse, string, None, ": ", ", ", False, False, True)(value, 0))


class _Connection(object):
    """One kept connection to the Runtime API."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.host = address
        self.sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self.sock.connect((host, int(port)))
        # Large results go out in two writes; the second must not wait for an ACK.
        self.sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.rest = b""
        self.next = self._head("GET", "invocation/next") + b"\r\n"

    def _head(self, method, path):
        return ("%s %s%s HTTP/1.1\r\nHost: %s\r\n" % (method, _API, path, self.host)).encode("ascii")

    def send_next(self):
        self.sock.sendall(self.next)

    def post(self, path, body, error_type=None, then=b"", content_type=b"application/json"):
        head = self._head("POST", path)
        if error_type is not None:
            head += b"Lambda-Runtime-Function-Error-Type: " + error_type.encode("ascii", "replace") + b"\r\n"
        head += b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (content_type, len(body))
        if len(body) < 1 << 16:
            self.sock.sendall(head + body + then)
        else:
            self.sock.sendall(head)
            self.sock.sendall(body)
            if then:
                self.sock.sendall(then)

    def receive(self):
        """Return the headers, in lower case, and the body of the next answer."""
        data = self.rest
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                break
            more = self.sock.recv(65536)
            if not more:
                _leave()
            data += more
        headers = {}
        for line in data[:end].decode("utf-8", "replace").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        end += 4
        missing = length - (len(data) - end)
        if missing <= 0:
            self.rest = data[end + length:]
            return headers, data[end:end + length]
        parts = [data[end:]]
        while missing > 0:
            more = self.sock.recv(min(missing, 1 << 20))
            if not more:
                _leave()
            parts.append(more)
            missing -= len(more)
        self.rest = b""
        return headers, b"".join(parts)


def _leave():
    """The Runtime API is gone, so nobody waits for an answer or cleaning up."""
    os._exit(0)


class Client(object):
    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]


class ClientContext(object):
    __slots__ = ["custom", "env", "client"]


class CognitoIdentity(object):
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]


def _repr(self):
    return "%s([%s])" % (type(self).__name__, ",".join("%s=%s" % (n, getattr(self, n, None)) for n in self.__slots__))


Client.__repr__ = ClientContext.__repr__ = CognitoIdentity.__repr__ = _repr


def _parse(text, name):
    try:
        return loads(text)
    except ValueError as e:
        raise _Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, e))


def _fill(cls, values):
    if values is None:
        return None
    target = cls()
    for name in cls.__slots__:
        setattr(target, name, values.get(name))
    return target


class LambdaContext(object):
    def __init__(self, headers, environ):
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id", "")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        self.client_context = None
        self._w3c = {}
        text = headers.get("lambda-runtime-client-context")
        if text:
            values = _parse(text, "Client Context")
            if isinstance(values, dict):
                w3c = values.pop("w3c", None)
                if isinstance(w3c, dict):
                    self._w3c = {k: w3c[k] for k in ("traceparent", "tracestate", "baggage") if isinstance(w3c.get(k), str)}
                self.client_context = _fill(ClientContext, values)
                client = values.get("client")
                self.client_context.client = _fill(Client, client if isinstance(client, dict) else None)
        self.identity = CognitoIdentity()
        self.identity.cognito_identity_id = None
        self.identity.cognito_identity_pool_id = None
        text = headers.get("lambda-runtime-cognito-identity")
        if text:
            values = _parse(text, "Cognito Identity")
            if isinstance(values, dict):
                self.identity.cognito_identity_id = values.get("cognitoIdentityId")
                self.identity.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = int(headers.get("lambda-runtime-deadline-ms", 0))

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time() * 1000))

    def w3c(self):
        """Return the W3C trace context that came with the invocation."""
        return dict(self._w3c)

    def log(self, msg):
        text = msg if isinstance(msg, str) else str(msg)
        if _log_fd is None:
            sys.stdout.write(text)
        else:
            _write_frame(text, _FRAME | _TEXT)

    def __repr__(self):
        names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
                 "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")
        return "LambdaContext([%s])" % ",".join("%s=%s" % (n, getattr(self, n)) for n in names)


class _Fault(Exception):
    """What is wrong with the function before it can run."""

    def __init__(self, kind, text, trace=()):
        Exception.__init__(self, text)
        self.kind = kind
        self.text = text
        self.trace = list(trace)


def _load(handler):
    try:
        module_name, name = handler.rsplit(".", 1)
    except ValueError as e:
        raise _Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (handler, e))
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise _Fault("Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module_name)
    try:
        module = import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise _Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, e))
    except SyntaxError as e:
        trace = ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)]
        raise _Fault("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, e), trace)
    try:
        return getattr(module, name)
    except AttributeError:
        raise _Fault("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (name, module_name))


def _trace(tb):
    """Return the frames as AWS shows them, without this client's own at the head."""
    import linecache

    frames, own, last, repeats = [], True, None, 0
    while tb is not None:
        code = tb.tb_frame.f_code
        own = own and code.co_filename in _HERE
        if not own and last == (code.co_filename, tb.tb_lineno, code.co_name):
            repeats += 1
        elif not own:
            _repeated(frames, repeats)
            last, repeats = (code.co_filename, tb.tb_lineno, code.co_name), 1
        if not own and repeats <= 3:
            line = linecache.getline(code.co_filename, tb.tb_lineno, tb.tb_frame.f_globals).strip()
            text = '  File "%s", line %d, in %s\n' % (code.co_filename, tb.tb_lineno, code.co_name)
            frames.append(text + ("    %s\n" % line if line else ""))
        tb = tb.tb_next
    _repeated(frames, repeats)
    return frames


def _repeated(frames, repeats):
    """End a run of equal frames as the module traceback does, which shows three."""
    if repeats > 3:
        frames.append("  [Previous line repeated %d more time%s]\n" % (repeats - 3, "s" if repeats > 4 else ""))


def _error(kind, text, trace, request_id):
    result = {"errorMessage": text, "errorType": kind}
    if _VERSION >= (3, 9):
        result["requestId"] = request_id
    result["stackTrace"] = trace
    return result


def _exception(e, request_id):
    if isinstance(e, _Fault):
        return _error(e.kind, e.text, e.trace, request_id)
    return _error(type(e).__name__, str(e), _trace(e.__traceback__), request_id)


class _Number(str):
    """A decimal number, which goes out as it is written."""


def _simplified(value, numbers, parents=()):
    """Return value with what AWS's encoder takes, and json does not, made plain.
    Decimal numbers are told, since they need an encoder of their own."""
    if isinstance(value, (list, tuple, dict)):
        if any(value is p for p in parents):
            raise ValueError("Circular reference detected")
        parents += (value,)
        if hasattr(value, "_asdict") and callable(value._asdict) and isinstance(value, tuple):
            value = value._asdict()
        if isinstance(value, dict):
            return {k.decode("utf-8") if isinstance(k, bytes) else k: _simplified(v, numbers, parents) for k, v in value.items()}
        return [_simplified(v, numbers, parents) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    decimal = sys.modules.get("decimal")
    if decimal and isinstance(value, decimal.Decimal):
        if value.is_nan() or make_scanner is None:
            return float(value)
        numbers.append(value)
        return _Number(value)
    return value


def _dumps_result(value):
    # From 3.12 on AWS leaves characters as they are.
    escape = _VERSION < (3, 12)
    if not isinstance(value, (list, tuple, dict)) or not _named_tuples():
        try:
            return dumps(value, ensure_ascii=escape)
        except TypeError:
            pass
    numbers = []
    value = _simplified(value, numbers)
    if not numbers:
        return dumps(value, ensure_ascii=escape)
    if isinstance(value, _Number):
        return str(value)
    string = encode_basestring_ascii if escape else encode_basestring

    def encode(text):
        return str(text) if isinstance(text, _Number) else string(text)

    return "".join(make_encoder({}, _refuse, encode, None, ": ", ", ", False, False, True)(value, 0))


_classes_seen = 0
_classes_own = False


def _named_tuples():
    """Tell whether there may be named tuples that are not the standard library's,
    so that results without any need not be searched for them."""
    global _classes_seen, _classes_own
    classes = tuple.__subclasses__()
    if len(classes) != _classes_seen:
        _classes_seen = len(classes)
        library = os.path.dirname(os.__file__)
        for cls in classes:
            file = getattr(sys.modules.get(cls.__module__), "__file__", None)
            if hasattr(cls, "_asdict") and file and (not file.startswith(library) or "-packages" in file):
                _classes_own = True
    return _classes_own


def _encode(value):
    text = _dumps_result(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8
        return text.encode("ascii", "backslashreplace")


def _log_error(error, as_json):
    if as_json:
        line = {"timestamp": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime()), "level": "ERROR"}
        line.update(error)
        lines = [dumps(line, ensure_ascii=False)]
    else:
        text = "[ERROR] " + error["errorType"]
        if error["errorMessage"]:
            text += ": " + error["errorMessage"]
        lines = [text, "Traceback (most recent call last):"]
        # No-break spaces keep the indentation in CloudWatch.
        for line in [line for frame in error["stackTrace"] for line in frame.rstrip("\n").split("\n")]:
            stripped = line.lstrip(" ")
            lines.append(_NO_BREAK * (len(line) - len(stripped)) + stripped)
    if _log_fd is not None:
        _write_frame("\n".join(lines), _frame_type(40, as_json))
        return
    _flush()
    _write(1, ("\r".join(lines) + "\n").encode("utf-8", "backslashreplace"))


def _frame_type(level, as_json):
    """Return the type of a frame of one of logging's levels, 10 to 50, or of none."""
    return _FRAME | (0 if as_json else _TEXT) | (level // 10 + 1 << 2 if level else 0)


def _write_frame(text, kind):
    """Log one event, which may have several lines."""
    data = text.encode("utf-8", "backslashreplace")
    head = kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + int(time() * 1000000).to_bytes(8, "big")
    _write(_log_fd, head + data)


def _write(fd, data):
    while data:
        data = data[os.write(fd, data):]


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the function may have put anything there
            pass


class _ImportHook(object):
    """Calls what sets up a module when, and only if, the module is imported."""

    def __init__(self, set_up):
        self.set_up = set_up

    def find_spec(self, name, path=None, target=None):
        if name not in self.set_up:
            return None
        set_up = self.set_up.pop(name)
        if not self.set_up:
            sys.meta_path.remove(self)
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None and spec.loader is not None:
                spec.loader = _SetUpLoader(spec.loader, set_up)
                return spec
        return None


class _SetUpLoader(object):
    def __init__(self, loader, set_up):
        self.loader = loader
        self.set_up = set_up

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.set_up(module)


# The authority of this installation, when functions can reach what it vouches for.
_AUTHORITY = "/etc/ssl/lamina.pem"


def _set_up_ssl(ssl):
    """Make whatever trusts anybody trust the authority, too, which vouches for one name only."""
    context = ssl.SSLContext
    load = context.load_verify_locations

    def trusting(method):
        def loads(self, *args, **kwargs):
            result = method(self, *args, **kwargs)
            try:
                load(self, _AUTHORITY)
            except (OSError, ValueError):  # an interpreter that can't read it
                pass
            return result

        loads.__name__ = method.__name__
        return loads

    for name in ("load_verify_locations", "set_default_verify_paths", "load_default_certs"):
        setattr(context, name, trusting(getattr(context, name)))


def _set_up_logging(logging, as_json, level):
    from traceback import format_tb  # which logging has imported, too

    class LambdaFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = _request_id or ""
            record.tenant_id = _tenant_id
            return True

    class TextFormatter(logging.Formatter):
        converter = staticmethod(gmtime)

        def __init__(self):
            logging.Formatter.__init__(
                self, "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")

    standard = set("""name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created
        msecs relativeCreated thread threadName processName process taskName aws_request_id tenant_id""".split())

    class JSONFormatter(logging.Formatter):
        def format(self, record):
            level = logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10)
            plain = isinstance(record.msg, dict) and not record.args
            line = {
                "timestamp": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(record.created)),
                "level": level,
                "message": record.msg if plain else record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info and record.exc_info[0]:
                kind, value, tb = record.exc_info
                line.update(stackTrace=format_tb(tb), errorType=kind.__name__, errorMessage=str(value))
            line["requestId"] = record.aws_request_id
            if record.exc_info:
                line["location"] = "%s:%s:%d" % (record.pathname, record.funcName, record.lineno)
            if record.tenant_id is not None:
                line["tenantId"] = record.tenant_id
            for name, value in vars(record).items():
                if name not in standard and name not in line and value is not None:
                    line[name] = value
            return dumps(line, ensure_ascii=False, default=str)

    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            try:
                text = self.format(record)
                if _log_fd is None:
                    sys.stdout.write(text + "\n")
                else:
                    of_level = min(50, max(0, record.levelno)) // 10 * 10 if as_json or level else 0
                    _write_frame(text, _frame_type(of_level, as_json))
            except Exception:
                self.handleError(record)

        def flush(self):
            _flush()

    handler = LambdaLoggerHandler()
    handler.addFilter(LambdaFilter())
    handler.setFormatter(JSONFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = {"TRACE": "DEBUG"}.get(level, level)
    if level in logging._nameToLevel:
        root.setLevel(level)


def _set_up_output():
    # A line in one write: the tail of the log then never shows half of one.
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        else:  # 3.6
            import io
            stream = io.TextIOWrapper(io.open(fd, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
            setattr(sys, name, stream)
            setattr(sys, "__%s__" % name, stream)


def _set_up_path(environ):
    task = environ.get("LAMBDA_TASK_ROOT", "/var/task")
    head = [task, "/opt/python/lib/python%d.%d/site-packages" % _VERSION, "/opt/python"]
    tail = []
    for p in sys.path:
        if p not in head and p not in tail:
            tail.append(p)
    # What the operator shows beside the runtime, as AWS ships boto3.
    packages = os.path.join(os.path.dirname(__file__), "packages")
    try:
        if os.listdir(packages):
            tail.append(packages)
    except OSError:
        pass
    if sys.flags.no_site:  # which saves a cold start a tenth; then its part is ours
        tail.append(os.path.join(sys.prefix, "lib", "python%d.%d" % _VERSION, "site-packages"))
        import builtins
        builtins.exit = builtins.quit = sys.exit
    sys.path[:] = head + tail


def _answer(connection, handler, headers, event, as_json):
    """Run the handler once and send what came of it."""
    request_id = headers.get("lambda-runtime-aws-request-id", "")
    error = None
    try:
        try:
            event = loads(event.decode("utf-8"))
        except ValueError as e:
            raise _Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % e)
        result = handler(event, LambdaContext(headers, os.environ))
    except Exception as e:
        error = _exception(e, request_id)
    else:
        try:
            body = result if isinstance(result, bytes) else _encode(result)
        except Exception as e:
            error = _error("Runtime.MarshalError", "Unable to marshal response: %s" % e, [], request_id)
    path = "invocation/" + request_id
    if error is None:
        _flush()
        kind = b"application/unknown" if body is result else b"application/json"
        connection.post(path + "/response", body, then=connection.next, content_type=kind)
    else:
        _log_error(error, as_json)
        connection.post(path + "/error", _encode(error), error["errorType"], connection.next)


def _snapshot(connection, as_json):
    """Run the hooks of snapshot_restore_py around the snapshot."""
    hooks = sys.modules.get("snapshot_restore_py")
    for kind, path, status in (("before_snapshot", "init/error", 64), ("after_restore", "restore/error", 65)):
        try:
            for f, args, kwargs in getattr(hooks, "get_" + kind)() if hooks else ():
                f(*args, **kwargs)
        except Exception as e:
            error = _exception(e, "")
            _log_error(error, as_json)
            connection.post(path, _encode(error), "Runtime.BeforeSnapshotError" if status == 64 else "Runtime.AfterRestoreError")
            connection.receive()
            sys.exit(status)
        if status == 64:
            connection.sock.sendall(connection._head("GET", "restore/next") + b"\r\n")
            connection.receive()


def main():
    global _request_id, _tenant_id, _log_fd

    environ = os.environ
    if _VERSION < (3, 12):
        # The interpreter's own doing where the host lacks en_US.UTF-8; AWS has it.
        environ.pop("LC_CTYPE", None)
    as_json = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    if "_LAMBDA_TELEMETRY_LOG_FD" in environ:
        _log_fd = int(environ.pop("_LAMBDA_TELEMETRY_LOG_FD"))
        try:
            os.fstat(_log_fd)
        except OSError:  # a wrapper closed it
            _log_fd = None
    _set_up_output()
    _set_up_path(environ)
    level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    hooks = {"logging": lambda module: _set_up_logging(module, as_json, level)}
    if os.path.exists(_AUTHORITY):
        hooks["ssl"] = _set_up_ssl
    for name in [name for name in hooks if name in sys.modules]:
        hooks.pop(name)(sys.modules[name])
    if hooks:
        sys.meta_path.insert(0, _ImportHook(hooks))
    sys.argv[:] = sys.argv[:1]
    connection = _Connection(environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = _load(environ.get("_HANDLER", ""))
    except Exception as e:
        error = _exception(e, "")
        _log_error(error, as_json)
        connection.post("init/error", _encode(error), error["errorType"])
        connection.receive()
        sys.exit(1)
    if environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _snapshot(connection, as_json)
    connection.send_next()
    while True:
        headers, event = connection.receive()
        _request_id = headers.get("lambda-runtime-aws-request-id", "")
        _tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        trace_id = headers.get("lambda-runtime-trace-id")
        if trace_id:
            environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            environ.pop("_X_AMZN_TRACE_ID", None)
        _answer(connection, handler, headers, event, as_json)
        _request_id = None
        connection.receive()  # that the result arrived, whether it was accepted or not
