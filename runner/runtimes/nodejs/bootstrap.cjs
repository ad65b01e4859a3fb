'use strict';
// Lamina's runtime client for Node.js 16 and later.
//
// It runs inside the sandbox: it loads the function's module, CommonJS or ES,
// then asks the Runtime API for invocations and answers them, one at a time, over
// one kept connection. It speaks HTTP on a bare socket, because loading http
// costs a cold start more than all that is here, and sends each result together
// with the request for the next invocation.
//
// A streamed response goes out in chunks as it is written:
//
//   POST invocation/{id}/response   Lambda-Runtime-Function-Response-Mode: streaming
//                                   Transfer-Encoding: chunked
//   chunk … chunk, end              and after a failure two trailers:
//                                   Lambda-Runtime-Function-Error-Type
//                                   Lambda-Runtime-Function-Error-Body (base64 of JSON)
const net = require('net');
const fs = require('fs');
const path = require('path');

const env = process.env;
const API = '/2018-06-01/runtime/';
const HOST = env.AWS_LAMBDA_RUNTIME_API;
// From 24 on a handler is what its promise says: no callbacks, no waiting for an
// empty event loop.
const modern = parseInt(process.versions.node, 10) >= 24;
const asJSON = (env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const threshold = LEVELS.indexOf((env.AWS_LAMBDA_LOG_LEVEL || '').toUpperCase());
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const WATERMARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const NEXT = Buffer.from(head('GET', 'invocation/next') + '\r\n');

let requestId; // of the invocation that runs, or undefined
let tenantId;
let initialized = false;
let streaming; // the response that is being streamed, or undefined

// ---- the connection

function head(method, where) {
  return `${method} ${API}${where} HTTP/1.1\r\nHost: ${HOST}\r\n`;
}

const [, host, port] = /^(.*):(\d+)$/.exec(HOST);
const socket = net.connect({ host, port: Number(port) });
socket.setNoDelay(true);
socket.on('error', () => process.exit(0)); // the Runtime API is gone: nobody waits for an answer
socket.on('end', () => process.exit(0));

let chunks = [];
let size = 0;
let want = 0; // bytes that the answer has, once its head was read
let headers;
let bodyAt = 0;
let receiver; // takes the next answer
const answers = []; // those that nobody waited for yet

socket.on('data', (data) => {
  chunks.push(data);
  size += data.length;
  while (size > 0 && size >= want) {
    let all = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size);
    chunks = [all];
    if (!headers) {
      const end = all.indexOf('\r\n\r\n');
      if (end < 0) return;
      headers = {};
      for (const line of all.toString('utf8', 0, end).split('\r\n').slice(1)) {
        const colon = line.indexOf(':');
        headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
      }
      bodyAt = end + 4;
      want = bodyAt + Number(headers['content-length'] || 0);
      if (size < want) return;
    }
    const answer = { headers, body: all.subarray(bodyAt, want) };
    all = all.subarray(want);
    chunks = all.length ? [all] : [];
    size = all.length;
    want = 0;
    headers = undefined;
    if (receiver) {
      const take = receiver;
      receiver = undefined;
      take(answer);
    } else {
      answers.push(answer);
    }
  }
});

function receive(take) {
  if (answers.length) take(answers.shift());
  else receiver = take;
}

function headerValue(text) {
  return String(text).replace(/[^\x20-\x7e]/g, '?');
}

function post(where, body, errorType, then, done) {
  let text = head('POST', where);
  if (errorType !== undefined) text += `Lambda-Runtime-Function-Error-Type: ${headerValue(errorType)}\r\n`;
  text += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  socket.cork();
  socket.write(text);
  socket.write(body);
  if (then) socket.write(then);
  socket.uncork();
  if (done) receive(done);
}

// ---- logging

// What has several lines is one event of the log when it goes out as a frame: a
// type, the text's length, the time in microseconds, the text. Without a platform
// that takes frames, returns stand for the newlines.
let logFd = Number(env._LAMBDA_TELEMETRY_LOG_FD || -1);
delete env._LAMBDA_TELEMETRY_LOG_FD;
// Node.js has read it when it started; on AWS there is none.
if (env.NODE_EXTRA_CA_CERTS === '/var/runtime/ca-cert.pem' && !/^v1[68]\./.test(process.version)) delete env.NODE_EXTRA_CA_CERTS;
try {
  if (logFd >= 0) fs.fstatSync(logFd);
} catch {
  logFd = -1; // a wrapper closed it
}

function write(text, level, now) {
  if (logFd < 0) {
    writeAll(1, Buffer.from(text.replace(/\n/g, '\r') + '\n'));
    return;
  }
  if (!asJSON) text += '\n';
  const length = Buffer.byteLength(text);
  const data = Buffer.allocUnsafe(16 + length);
  data.writeUInt32BE((asJSON ? 0xa55a0002 : 0xa55a0003) + 4 * (LEVELS.indexOf(level) + 1), 0);
  data.writeUInt32BE(length, 4);
  data.writeBigUInt64BE(BigInt(now) * 1000n, 8);
  data.write(text, 16);
  writeAll(logFd, data);
}

function writeAll(fd, data) {
  while (data.length) {
    try {
      data = data.subarray(fs.writeSync(fd, data));
    } catch (e) {
      if (e.code !== 'EAGAIN') return;
    }
  }
}

let format;
function formatted(message, params) {
  format = format || require('util').format;
  return format(message, ...params);
}

function currentId() {
  return requestId === undefined && modern ? '-' : requestId;
}

function log(level, message, params) {
  const date = new Date();
  const now = date.toISOString();
  write(asJSON ? logged(now, level, message, params) : `${now}\t${currentId()}\t${level}\t${formatted(message, params)}`, level, date.getTime());
}

function logged(timestamp, level, message, params) {
  const line = { timestamp, level, requestId: currentId() };
  if (tenantId) line.tenantId = tenantId;
  if (params.length === 0) {
    line.message = message;
    try {
      return JSON.stringify(line, (_, value) => (value instanceof Error ? {
        errorType: (value.constructor && value.constructor.name) || 'UnknownError',
        errorMessage: value.message,
        stackTrace: typeof value.stack === 'string' ? value.stack.split('\n') : value.stack,
        ...value,
      } : value));
    } catch {
      line.message = formatted(message, []);
      return JSON.stringify(line);
    }
  }
  line.message = formatted(message, params);
  const error = params.find((p) => p instanceof Error);
  if (error) {
    line.errorType = (error.constructor && error.constructor.name) || 'UnknownError';
    line.errorMessage = error.message;
    line.stackTrace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
  }
  return JSON.stringify(line);
}

for (const [method, level] of Object.entries({
  log: 'INFO', info: 'INFO', debug: 'DEBUG', warn: 'WARN', error: 'ERROR', trace: 'TRACE', fatal: 'FATAL',
})) {
  console[method] = LEVELS.indexOf(level) < threshold ? () => {} : (message, ...params) => log(level, message, params);
}

function logError(what, reason) {
  if (LEVELS.indexOf('ERROR') < threshold) return;
  const error = isError(reason) ? reason : new Error(String(reason));
  if (asJSON) {
    log('ERROR', error, []);
    return;
  }
  let text;
  try {
    text = JSON.stringify(error, (_, value) => (value instanceof Error ? enumerable(value) : value));
  } catch {
    text = JSON.stringify(describe(error));
  }
  log('ERROR', what, ['\t' + text]);
}

function enumerable(error) {
  const all = { errorType: error.name, errorMessage: error.message, code: error.code, ...error };
  if (typeof error.stack === 'string') all.stack = error.stack.split('\n');
  return all;
}

// ---- errors

// Fault is what is wrong with the function before it can run, or outside of it.
class Fault extends Error {
  constructor(name, message, stack) {
    super(message);
    Object.defineProperty(this, 'name', { value: name, enumerable: false });
    this.stack = stack || `${name}: ${message}\n${String(this.stack).split('\n').slice(1).join('\n')}`;
  }
}

function isError(e) {
  return e instanceof Error || Object.prototype.toString.call(e) === '[object Error]';
}

function describe(e) {
  try {
    if (isError(e)) {
      const clean = (text) => String(text).replace(/\x7f/g, '%7F');
      return { errorType: clean(e.name), errorMessage: clean(e.message), trace: clean(e.stack).split('\n') };
    }
    return { errorType: typeof e, errorMessage: String(e), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
}

let dying = false;

// die reports an error that no invocation will answer and ends the process.
function die(what, error, status) {
  if (dying) return;
  dying = true;
  logError(what, error);
  const d = describe(error);
  socket.ref();
  const end = () => process.exit(status);
  if (streaming && streaming.begun) {
    if (streaming.ended) return end();
    streaming.ended = true;
    socket.write(trailers(d));
    receive(end);
  } else if (requestId !== undefined) {
    post(`invocation/${requestId}/error`, JSON.stringify(d), d.errorType, undefined, end);
  } else if (!initialized) {
    post('init/error', JSON.stringify(d), d.errorType, undefined, end);
  } else {
    end();
  }
}

process.on('uncaughtException', (error) => die('Uncaught Exception', error, 129));
process.on('unhandledRejection', (reason, promise) => {
  const error = new Fault('Runtime.UnhandledPromiseRejection', String(reason));
  error.reason = reason;
  error.promise = promise;
  die('Unhandled Promise Rejection', error, 128);
});

// ---- what functions find

// invoke carries the identifiers of the invocation, for libraries that ask the
// global awslambda.InvokeStore for them.
let invoke;
const KEYS = {
  REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
  X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
  TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
};
const store = {
  getContext: () => invoke,
  hasContext: () => invoke !== undefined,
  get: (key) => (invoke ? invoke[key] : undefined),
  set(key, value) {
    if (Object.values(KEYS).includes(key)) throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    invoke = invoke || {};
    invoke[key] = value;
  },
  getRequestId: () => store.get(KEYS.REQUEST_ID) || '-',
  getXRayTraceId: () => store.get(KEYS.X_RAY_TRACE_ID),
  getTenantId: () => store.get(KEYS.TENANT_ID),
  run(context, f) {
    invoke = context;
    return f();
  },
};

if (!['true', '1'].includes(env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
  globalThis.awslambda = {
    InvokeStore: store,
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (options && typeof options.highWaterMark === 'number') handler[WATERMARK] = Math.trunc(options.highWaterMark);
      return handler;
    },
    HttpResponseStream: {
      from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        const metadata = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (send) => {
          send(metadata);
          send(new Uint8Array(8));
        };
        return stream;
      },
    },
  };
}

// ---- the function

// isModule reports whether Node.js takes a .js file for an ES module.
function isModule(file) {
  for (let dir = path.dirname(file); !dir.endsWith('/node_modules'); dir = path.dirname(dir)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8')).type === 'module';
    } catch (e) {
      if (e.code !== 'ENOENT' && e.code !== 'ENOTDIR') return false;
    }
    if (dir === path.dirname(dir)) return false;
  }
  return false;
}

function load(root, dir, name) {
  const base = path.resolve(root, dir, name);
  for (const extension of ['', '.js', '.mjs', '.cjs']) {
    const file = base + extension;
    try {
      if (!fs.statSync(file).isFile()) continue;
    } catch {
      continue;
    }
    if (extension === '.mjs' || (extension === '.js' && isModule(file))) {
      return import(require('url').pathToFileURL(file).href);
    }
    return require(file);
  }
  // A package, of the function's or from a layer.
  return require(require.resolve(name, { paths: [root, path.join(root, dir)] }));
}

async function handlerOf(text) {
  const root = env.LAMBDA_TASK_ROOT || process.cwd();
  if (text.includes('..')) {
    throw new Fault('Runtime.MalformedHandlerName',
      `'${text}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const dir = text.slice(0, text.lastIndexOf('/') + 1);
  const match = /^([^.]*)\.(.*)$/.exec(text.slice(dir.length));
  if (!match) throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  const [, name, member] = match;
  let module;
  try {
    module = await load(root, dir, name);
  } catch (e) {
    if (e instanceof SyntaxError) throw new Fault('Runtime.UserCodeSyntaxError', String(e), e.stack);
    if (e && e.code === 'MODULE_NOT_FOUND') {
      const own = e.message.startsWith(`Cannot find module '${name}'`);
      const message = own ? `Error: Cannot find module '${name}'\nRequire stack:\n- ${__filename}` : String(e);
      const frames = String(e.stack).split('\n').filter((line) => line.startsWith('    at ')).join('\n');
      throw new Fault('Runtime.ImportModuleError', message, `Runtime.ImportModuleError: ${message}\n${frames}`);
    }
    throw e;
  }
  const find = (at) => member.split('.').reduce((o, key) => (o && (typeof o === 'object' || typeof o === 'function') ? o[key] : undefined), at);
  let handler = find(module);
  if (!handler && module && module.default) handler = find(module.default);
  if (!handler) throw new Fault('Runtime.HandlerNotFound', `${text} is undefined or not exported`);
  if (typeof handler !== 'function') throw new Fault('Runtime.HandlerNotFound', `${text} is not a function`);
  if (handler[STREAMING] && handler[STREAMING] !== 'response') {
    throw new Fault('Runtime.MalformedStreamingHandler', 'Only response streaming is supported.');
  }
  if (modern && handler.length >= 3 && !handler[STREAMING]) {
    throw new Fault('Runtime.CallbackHandlerDeprecated',
      'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. ' +
      'You need to modify this function to use a supported handler signature to use Node.js 24 or later. ' +
      'For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.');
  }
  return handler;
}

// ---- invocations

let atExit; // what an empty event loop means for the invocation that runs
process.on('beforeExit', () => {
  const act = atExit;
  atExit = undefined;
  if (act) act();
});

function contextOf(headers, id) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const parsed = (text) => (text ? JSON.parse(text) : undefined);
  return {
    ...(modern ? undefined : { callbackWaitsForEmptyEventLoop: true }),
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parsed(headers['lambda-runtime-client-context']),
    identity: parsed(headers['lambda-runtime-cognito-identity']),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: id,
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

// once runs the handler for one event and sends what comes of it, once.
function once(handler, { headers, body }) {
  const id = headers['lambda-runtime-aws-request-id'];
  const trace = headers['lambda-runtime-trace-id'];
  requestId = id;
  tenantId = headers['lambda-runtime-aws-tenant-id'];
  invoke = { [KEYS.REQUEST_ID]: id, [KEYS.X_RAY_TRACE_ID]: trace, [KEYS.TENANT_ID]: tenantId };
  if (trace) env._X_AMZN_TRACE_ID = trace;
  else delete env._X_AMZN_TRACE_ID;
  let answered = false;

  function send(kind, payload, errorType) {
    answered = true;
    atExit = undefined;
    post(`invocation/${id}/${kind}`, payload, errorType, NEXT, () => receive((answer) => once(handler, answer)));
    requestId = undefined;
    socket.ref();
  }
  function fail(e) {
    if (answered || dying) return;
    logError('Invoke Error', e);
    const d = describe(e);
    send('error', JSON.stringify(d), d.errorType);
  }
  function succeed(value) {
    if (answered || dying) return;
    let text;
    try {
      text = JSON.stringify(value === undefined ? null : value);
    } catch {
      fail(modern ? new Fault('Runtime.JSONStringifyError', 'Unable to stringify response body') : new Error('Unable to stringify response body'));
      return;
    }
    if (text === undefined) fail(new TypeError('Wrong arguments')); // a function or a symbol
    else send('response', text);
  }

  // While the function works only its own timers and sockets keep the process
  // alive, so that an empty event loop shows.
  socket.unref();
  let context;
  let event;
  try {
    context = contextOf(headers, id);
    event = JSON.parse(body.toString('utf8'));
  } catch (e) {
    fail(e);
    return;
  }
  if (handler[STREAMING]) {
    stream(handler, event, context, fail);
    return;
  }
  if (modern) {
    // Nothing is left that could settle the promise.
    atExit = () => process.exit(13);
    try {
      const result = handler(event, context);
      if (result && typeof result.then === 'function') result.then(succeed, fail);
      else succeed(result);
    } catch (e) {
      fail(e);
    }
    return;
  }

  let settled = false; // by one of the four ways to call back
  const first = (f) => (...args) => {
    if (settled) return;
    settled = true;
    f(...args);
  };
  const finish = (e, value) => (e === undefined || e === null ? succeed(value) : fail(e));
  context.done = first(finish);
  context.succeed = first(succeed);
  context.fail = first((e) => fail(e === undefined || e === null ? 'handled' : e));
  const callback = first((e, value) => {
    if (context.callbackWaitsForEmptyEventLoop && (e === undefined || e === null)) atExit = () => succeed(value);
    else finish(e, value);
  });
  atExit = () => succeed(null);
  try {
    const result = handler(event, context, callback);
    if (result && typeof result.then === 'function') result.then(context.succeed, context.fail);
  } catch (e) {
    callback(e);
  }
}

// ---- streamed responses

function trailers(d) {
  return `0\r\nLambda-Runtime-Function-Error-Type: ${headerValue(d.errorType)}\r\n` +
    `Lambda-Runtime-Function-Error-Body: ${Buffer.from(JSON.stringify(d)).toString('base64')}\r\n\r\n`;
}

let ResponseStream;
function responseStreamClass() {
  const { Writable } = require('stream');
  return class extends Writable {
    constructor(id, highWaterMark) {
      super(highWaterMark ? { highWaterMark } : {});
      this.on('error', () => {}); // what goes wrong is the handler's to say
      Object.defineProperties(this, {
        _id: { value: id },
        _type: { value: 'application/octet-stream', writable: true },
        _begun: { value: false, writable: true },
        _state: { value: { begun: false, ended: false } },
        _onBeforeFirstWrite: { value: undefined, writable: true },
      });
    }

    setContentType(type) {
      if (this._begun) throw new Fault('Runtime.InvalidStreamingOperation', 'Cannot set content-type, too late.');
      this._type = type;
    }

    write(chunk, ...rest) {
      this._begin();
      return super.write(chunkOf(chunk), ...rest);
    }

    end(chunk, ...rest) {
      if (!this.writableEnded) this._begin();
      return typeof chunk === 'function' || chunk === undefined || chunk === null
        ? super.end(chunk, ...rest) : super.end(chunkOf(chunk), ...rest);
    }

    _begin() {
      if (this._begun) return;
      this._begun = true;
      if (typeof this._onBeforeFirstWrite === 'function') this._onBeforeFirstWrite((data) => super.write(data));
    }

    _write(chunk, encoding, done) {
      this._writev([{ chunk, encoding }], done);
    }

    _writev(parts, done) {
      if (dying) return;
      socket.cork();
      this._head();
      for (const { chunk, encoding } of parts) {
        const data = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
        if (data.length === 0) continue; // an empty chunk would be the last
        socket.write(`${data.length.toString(16)}\r\n`);
        socket.write(data);
        socket.write('\r\n');
      }
      socket.write('', () => done());
      socket.uncork();
    }

    _head() {
      if (this._state.begun) return;
      this._state.begun = true;
      socket.ref(); // now the response, too, keeps the process alive
      socket.write(head('POST', `invocation/${this._id}/response`) +
        'Lambda-Runtime-Function-Response-Mode: streaming\r\n' +
        'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n' +
        `Content-Type: ${headerValue(this._type)}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    }

    _final(done) {
      if (!dying && !this._state.ended) {
        this._head();
        this._state.ended = true;
        socket.write('0\r\n\r\n');
      }
      done();
    }
  };
}

function chunkOf(chunk) {
  return typeof chunk === 'string' || chunk instanceof Uint8Array ? chunk : JSON.stringify(chunk);
}

// stream runs a streaming handler. Its invocation is over when the handler has
// returned and the stream has ended.
function stream(handler, event, context, refuse) {
  ResponseStream = ResponseStream || responseStreamClass();
  const out = new ResponseStream(context.awsRequestId, handler[WATERMARK]);
  streaming = out._state;

  function next() {
    if (dying) return;
    streaming = undefined;
    atExit = undefined;
    requestId = undefined;
    socket.ref();
    socket.write(NEXT);
    receive(() => receive((answer) => once(handler, answer)));
  }
  function fail(e) {
    if (dying) return;
    atExit = undefined;
    if (!out._state.begun) { // nobody has seen anything yet: an error like any other
      streaming = undefined;
      out._state.begun = out._state.ended = true;
      refuse(e);
      return;
    }
    logError('Invoke Error', e);
    if (!out._state.ended) {
      out._state.ended = true;
      socket.write(trailers(describe(e)));
    }
    out.destroy();
    next();
  }

  atExit = () => fail(new Error('Response stream is not finished.'));
  const finished = new Promise((resolve) => {
    out.once('finish', resolve);
    out.once('close', resolve);
  });
  let result;
  try {
    result = handler(event, out, context);
  } catch (e) {
    fail(e);
    return;
  }
  if (!result || typeof result.then !== 'function') {
    fail('Streaming does not support non-async handlers.');
    return;
  }
  result.then(async (value) => {
    if (value !== undefined) console.warn('Streaming handlers ignore return values.');
    await finished;
    if (!out.writableFinished) throw new Error('Response stream is not finished.');
    next();
  }).catch(fail);
}

// A turn later, so that a rejection that the module left behind is still its
// start's failure.
handlerOf(env._HANDLER || '').then((handler) => setImmediate(() => {
  if (dying) return;
  initialized = true;
  socket.write(NEXT);
  receive((answer) => once(handler, answer));
}), (e) => die('Uncaught Exception', e, 129));
