'use strict';
// Lamina's runtime client for Node.js 16 and later.
//
// It runs inside the sandbox: it loads the function's module, CommonJS or ES,
// then asks the Runtime API for invocations and answers them, one at a time, over
// one kept connection. It speaks HTTP on a bare socket, because loading http
// costs a cold start more than all that is here, and sends each result together
// with the request for the next invocation.
const net = require('net');
const fs = require('fs');
const path = require('path');

const env = process.env;
const API = '/2018-06-01/runtime/';
const HOST = env.AWS_LAMBDA_RUNTIME_API;
const asJSON = (env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const threshold = asJSON ? LEVELS.indexOf((env.AWS_LAMBDA_LOG_LEVEL || '').toUpperCase()) : -1;
const STREAMED = Symbol.for('lamina.streamed');
const NEXT = Buffer.from(head('GET', 'invocation/next') + '\r\n');

let requestId; // of the invocation that runs, or undefined
let initialized = false;

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

function post(where, body, errorType, then, done) {
  let text = head('POST', where);
  if (errorType !== undefined) {
    text += `Lambda-Runtime-Function-Error-Type: ${errorType.replace(/[^\x20-\x7e]/g, '?')}\r\n`;
  }
  text += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  socket.cork();
  socket.write(text);
  socket.write(body);
  if (then) socket.write(then);
  socket.uncork();
  if (done) receive(done);
}

// ---- logging

function write(text) {
  let data = Buffer.from(text);
  while (data.length) {
    try {
      data = data.subarray(fs.writeSync(1, data));
    } catch (e) {
      if (e.code !== 'EAGAIN') return;
    }
  }
}

let format;
function log(level, args) {
  if (LEVELS.indexOf(level) < threshold) return;
  format = format || require('util').format;
  const now = new Date().toISOString();
  if (!asJSON) {
    write(`${now}\t${requestId}\t${level}\t${format(...args)}\n`);
    return;
  }
  const line = { timestamp: now, level, requestId };
  if (args.length === 1 && typeof args[0] === 'object' && args[0] !== null && !(args[0] instanceof Error)) {
    line.message = args[0];
  } else {
    line.message = format(...args);
    const error = args.find((a) => a instanceof Error);
    if (error) {
      line.errorType = error.name;
      line.errorMessage = error.message;
      line.stackTrace = String(error.stack).split('\n');
    }
  }
  let text;
  try {
    text = JSON.stringify(line);
  } catch {
    text = JSON.stringify({ ...line, message: format(...args) });
  }
  write(text + '\n');
}

for (const [method, level] of Object.entries({
  log: 'INFO', info: 'INFO', debug: 'DEBUG', warn: 'WARN', error: 'ERROR', trace: 'TRACE', fatal: 'FATAL',
})) {
  console[method] = (...args) => log(level, args);
}

function logError(what, error) {
  const described = describe(error);
  log('ERROR', asJSON ? [error] : [
    `${what} \t${JSON.stringify({ ...extra(error), errorType: described.errorType, errorMessage: described.errorMessage, stack: described.trace })}`,
  ]);
}

function extra(error) {
  if (!(error instanceof Error)) return {};
  try {
    return JSON.parse(JSON.stringify({ ...error }));
  } catch {
    return {};
  }
}

// ---- errors

// Fault is what is wrong with the function before it can run, or outside of it.
class Fault extends Error {
  constructor(name, message, stack) {
    super(message);
    this.name = name;
    Object.defineProperty(this, 'name', { enumerable: false });
    if (stack) this.stack = stack;
    else this.stack = `${name}: ${message}\n${String(this.stack).split('\n').slice(1).join('\n')}`;
  }
}

function isError(e) {
  return e instanceof Error || Object.prototype.toString.call(e) === '[object Error]';
}

function describe(e) {
  if (isError(e)) {
    return { errorType: String(e.name), errorMessage: String(e.message), trace: String(e.stack).split('\n') };
  }
  let text;
  try {
    text = String(e);
  } catch {
    text = typeof e;
  }
  return { errorType: typeof e, errorMessage: text, trace: [] };
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
  if (requestId !== undefined) post(`invocation/${requestId}/error`, JSON.stringify(d), d.errorType, undefined, end);
  else if (!initialized) post('init/error', JSON.stringify(d), d.errorType, undefined, end);
  else end();
}

process.on('uncaughtException', (error) => die('Uncaught Exception', error, 129));
process.on('unhandledRejection', (reason, promise) => {
  const error = new Fault('Runtime.UnhandledPromiseRejection', isError(reason) ? reason.toString() : String(reason));
  error.reason = reason;
  error.promise = promise;
  die('Unhandled Promise Rejection', error, 128);
});

// ---- the function

globalThis.awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMED] = options || {};
    return handler;
  },
  HttpResponseStream: {
    from(stream, prelude) {
      stream.setContentType?.('application/vnd.awslambda.http-integration-response');
      stream.write(JSON.stringify(prelude));
      stream.write(new Uint8Array(8));
      return stream;
    },
  },
};

// isModule reports whether Node.js takes a .js file for an ES module.
function isModule(file) {
  for (let dir = path.dirname(file); ; dir = path.dirname(dir)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8')).type === 'module';
    } catch (e) {
      if (e.code !== 'ENOENT' && e.code !== 'ENOTDIR') return false;
    }
    if (dir === path.dirname(dir)) return false;
  }
}

function load(root, name) {
  const base = path.resolve(root, name);
  for (const extension of ['', '.js', '.mjs', '.cjs']) {
    const file = base + extension;
    let stat;
    try {
      stat = fs.statSync(file);
    } catch {
      continue;
    }
    if (!stat.isFile()) continue;
    if (extension === '.mjs' || (extension === '.js' && isModule(file))) {
      return import(require('url').pathToFileURL(file).href);
    }
    if (extension === '') break; // no extension: CommonJS decides
    return require(file);
  }
  // A directory with an index, or a package from a layer.
  return require(require.resolve(name, { paths: [root, path.dirname(base)] }));
}

async function handlerOf(text) {
  const root = env.LAMBDA_TASK_ROOT || process.cwd();
  const dir = text.slice(0, text.lastIndexOf('/') + 1);
  const match = /^([^.]*)\.(.+)$/.exec(text.slice(dir.length));
  if (!match || text.includes('..')) throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  let module;
  try {
    module = await load(root, dir + match[1]);
  } catch (e) {
    if (e instanceof SyntaxError) throw new Fault('Runtime.UserCodeSyntaxError', e.toString(), e.stack);
    if (e && (e.code === 'MODULE_NOT_FOUND' || e.code === 'ERR_MODULE_NOT_FOUND')) {
      const missing = e.code === 'MODULE_NOT_FOUND' && e.message.startsWith(`Cannot find module '${dir + match[1]}'`)
        ? `Error: Cannot find module '${match[1]}'\nRequire stack:\n- ${__filename}` : e.toString();
      throw new Fault('Runtime.ImportModuleError', missing, `Runtime.ImportModuleError: ${missing}\n${stackOf(e)}`);
    }
    throw e;
  }
  const handler = match[2].split('.').reduce((at, key) => (at === undefined || at === null ? undefined : at[key]),
    module[match[2].split('.')[0]] === undefined && module.default ? module.default : module);
  if (handler === undefined || handler === null) {
    throw new Fault('Runtime.HandlerNotFound', `${text} is undefined or not exported`);
  }
  if (typeof handler !== 'function') throw new Fault('Runtime.HandlerNotFound', `${text} is not a function`);
  if (handler.length >= 3 && !handler[STREAMED] && parseInt(process.versions.node, 10) >= 24) {
    throw new Fault('Runtime.CallbackHandlerDeprecated',
      'Handlers that take a callback are not supported from Node.js 24 on. Return a promise, or make the handler async.');
  }
  return handler;
}

function stackOf(e) {
  return String(e.stack).split('\n').filter((line) => line.startsWith('    at ')).join('\n');
}

function parsed(text) {
  return text ? JSON.parse(text) : undefined;
}

// once runs the handler for one event and sends what comes of it, once.
function once(handler, { headers, body }) {
  const id = headers['lambda-runtime-aws-request-id'];
  requestId = id;
  if (headers['lambda-runtime-trace-id']) env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'];
  else delete env._X_AMZN_TRACE_ID;
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  let answered = false;

  function send(kind, payload, errorType) {
    if (answered || dying) return;
    answered = true;
    atExit = undefined;
    post(`invocation/${id}/${kind}`, payload, errorType, NEXT, () => {
      receive((answer) => once(handler, answer));
    });
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
      if (text === undefined) text = 'null';
    } catch {
      fail(new Error('Unable to stringify response body'));
      return;
    }
    send('response', text);
  }

  const finish = (e, value) => (e === undefined || e === null ? succeed(value) : fail(e));
  const context = {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: undefined,
    identity: undefined,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: id,
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    done: finish,
    succeed,
    fail: (e) => fail(e === undefined || e === null ? new Error('null') : e),
  };

  // While the function works only its own timers and sockets keep the process
  // alive, so that an empty event loop shows.
  socket.unref();
  atExit = () => succeed(null);
  try {
    context.clientContext = parsed(headers['lambda-runtime-client-context']);
    context.identity = parsed(headers['lambda-runtime-cognito-identity']);
    const event = JSON.parse(body.toString('utf8'));
    if (handler[STREAMED]) {
      stream(handler, event, context, (payload) => send('response', payload), fail);
      return;
    }
    const result = handler(event, context, (e, value) => {
      if (context.callbackWaitsForEmptyEventLoop) atExit = () => finish(e, value);
      else finish(e, value);
    });
    if (result && typeof result.then === 'function') result.then(succeed, fail);
  } catch (e) {
    fail(e);
  }
}

// stream collects what a streaming handler writes: invocations are buffered.
function stream(handler, event, context, send, fail) {
  const { Writable } = require('stream');
  const parts = [];
  const out = new Writable({
    write(chunk, encoding, done) {
      parts.push(Buffer.from(chunk, encoding));
      done();
    },
  });
  out.setContentType = () => {};
  out.on('finish', () => send(Buffer.concat(parts)));
  out.on('error', fail);
  Promise.resolve(handler(event, out, context)).catch(fail);
}

let atExit; // what an empty event loop means for the invocation that runs
process.on('beforeExit', () => {
  const act = atExit;
  atExit = undefined;
  if (act) act();
});

handlerOf(env._HANDLER || '').then((handler) => {
  initialized = true;
  socket.write(NEXT);
  receive((answer) => once(handler, answer));
}, (e) => {
  die('Uncaught Exception', e, 1);
});
