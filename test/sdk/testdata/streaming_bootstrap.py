#!/usr/bin/env python3
# A runtime client that streams as its event says, for streaming_test.go:
# {"steps": [{"write": text}, {"sleep": seconds}, {"fail": text}, ...]}, or
# {"reply": json} to answer whole. Through a function URL the order is the
# parameter "do"; without one it answers with the event.
import base64, json, os, socket, sys, time
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
BASE = '/2018-06-01/runtime/'

def connect():
    s = socket.create_connection((host, int(port)))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s, s.makefile('rb')

conn, reader = connect()

def answer():
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline().strip()):
        name, _, value = line.partition(b':')
        headers[name.decode().lower()] = value.strip().decode()
    return status, headers, reader.read(int(headers.get('content-length', 0)))

def post(path, body, extra=''):
    conn.sendall(f'POST {BASE}{path} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {len(body)}\r\n\r\n'.encode() + body)
    return answer()

class Stream:
    def __init__(self, id, content_type):
        conn.sendall((f'POST {BASE}invocation/{id}/response HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n'
            + (f'Content-Type: {content_type}\r\n' if content_type else '')
            + 'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\nTransfer-Encoding: chunked\r\n\r\n').encode())
    def write(self, b):
        conn.sendall(b'%x\r\n' % len(b) + b + b'\r\n')
    def end(self, trailers=''):
        conn.sendall(('0\r\n' + trailers + '\r\n').encode())
        return answer()

while True:
    conn.sendall(f'GET {BASE}invocation/next HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
    _, headers, body = answer()
    id = headers['lambda-runtime-aws-request-id']
    event = json.loads(body)
    if 'requestContext' in event:
        order = json.loads((event.get('queryStringParameters') or {}).get('do') or '{"steps":[]}')
        if order == {"steps": []}:
            order = {'reply': event}
    else:
        order = event
    if 'reply' in order:
        post(f'invocation/{id}/response', json.dumps(order['reply']).encode(), 'Content-Type: application/json\r\n')
        continue
    if 'raw' in order:
        post(f'invocation/{id}/response', order['raw'].encode())
        continue
    if 'fail' in order:
        post(f'invocation/{id}/error', json.dumps({'errorType': 'E', 'errorMessage': order['fail']}).encode(), 'Lambda-Runtime-Function-Error-Type: E\r\n')
        continue
    s = Stream(id, order.get('type'))
    ended = False
    for step in order['steps']:
        (verb, value), = step.items()
        if verb == 'write': s.write(value.encode('latin-1'))
        elif verb == 'fill':
            left = value
            while left:
                n = min(left, 1 << 16); s.write(b'x' * n); left -= n
        elif verb == 'sleep': time.sleep(value)
        elif verb == 'print': print(value, flush=True)
        elif verb == 'exit': os._exit(value)
        elif verb == 'close':
            conn.close(); reader.close(); conn, reader = connect(); ended = True
        elif verb == 'fail':
            payload = base64.b64encode(json.dumps({'errorType': 'Late', 'errorMessage': value}).encode()).decode()
            s.end(f'Lambda-Runtime-Function-Error-Type: Late\r\nLambda-Runtime-Function-Error-Body: {payload}\r\n'); ended = True
    if not ended: s.end()
