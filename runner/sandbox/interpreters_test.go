//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// What uses much of the system in each language: threads, processes, sockets,
// files, memory maps, timers. It prints ok at its end.
const (
	pythonWork = `
import asyncio, concurrent.futures, ctypes, mmap, os, random, select, signal, socket, sqlite3, ssl, subprocess, sys, tempfile, threading, time
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda n: n * n, range(100))) == 328350
assert subprocess.check_output(['/bin/sh', '-c', 'echo $((6 * 7)) | cat']).strip() == b'42'
pid = os.fork()
if pid == 0:
    os._exit(7)
assert os.waitpid(pid, 0)[1] >> 8 == 7
async def main():
    async def echo(r, w):
        w.write(await r.read(5)); await w.drain(); w.close()
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    w.write(b'hello'); assert await r.read(5) == b'hello'; w.close()
    server.close()
    p = await asyncio.create_subprocess_exec('/bin/true'); assert await p.wait() == 0
loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); loop.run_until_complete(main()); loop.close()
with tempfile.TemporaryFile() as f:
    f.write(b'x' * 8192); f.flush(); os.fsync(f.fileno()); os.posix_fallocate(f.fileno(), 0, 16384)
    with mmap.mmap(f.fileno(), 0) as m: assert m[0] == 120
db = sqlite3.connect('/tmp/py.db'); db.execute('pragma journal_mode=wal'); db.execute('create table t (a)'); db.execute('insert into t values (1)'); db.commit(); db.close(); os.unlink('/tmp/py.db')
a, b = socket.socketpair(); a.send(b'x'); assert select.select([b], [], [], 1)[0]
e = select.epoll(); e.register(b.fileno()); assert e.poll(1)
signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)
ssl.create_default_context(); socket.getaddrinfo('localhost', 80); os.urandom(8); random.SystemRandom().random(); os.sched_getaffinity(0); os.cpu_count(); os.getloadavg(); os.sync()
try:
    import multiprocessing; q = multiprocessing.get_context('spawn').Pipe(); q[0].send(1); assert q[1].recv() == 1
except ImportError: pass
print('ok')
`
	nodeWork = `
const fs = require('fs'), net = require('net'), os = require('os'), cp = require('child_process'), { Worker } = require('worker_threads'), crypto = require('crypto'), dns = require('dns');
(async () => {
  await fs.promises.writeFile('/tmp/n', 'x'); await fs.promises.copyFile('/tmp/n', '/tmp/m'); await fs.promises.rm('/tmp/n'); fs.watch('/tmp').close();
  const s = net.createServer(c => c.end('hi')); await new Promise(r => s.listen(0, '127.0.0.1', r));
  const got = await new Promise(r => { let b = ''; net.connect(s.address().port, '127.0.0.1').on('data', d => b += d).on('end', () => r(b)); }); s.close();
  if (got !== 'hi') throw got;
  if (cp.execSync('echo 42').toString().trim() !== '42') throw 'exec';
  await new Promise((r, e) => new Worker("require('worker_threads').parentPort.postMessage(1)", { eval: true }).on('message', r).on('error', e));
  await new Promise(r => crypto.pbkdf2('a', 'b', 1000, 32, 'sha256', r)); await dns.promises.lookup('localhost'); os.cpus(); os.networkInterfaces(); os.freemem(); process.memoryUsage(); process.resourceUsage();
  const shared = new Int32Array(new SharedArrayBuffer(4)); Atomics.wait(shared, 0, 0, 5);
  console.log('ok');
})().catch(e => { console.log('failed', e); process.exit(1); });
`
	javaWork = `
import java.net.*; import java.nio.file.*; import java.util.concurrent.*; import java.util.stream.*;
public class Work {
  public static void main(String[] a) throws Exception {
    var pool = Executors.newFixedThreadPool(4);
    if (pool.invokeAll(IntStream.range(0, 20).mapToObj(i -> (Callable<Integer>) () -> i).collect(Collectors.toList())).size() != 20) throw new Exception("pool");
    pool.shutdown();
    Files.writeString(Path.of("/tmp/j"), "x"); Files.copy(Path.of("/tmp/j"), Path.of("/tmp/k"), StandardCopyOption.REPLACE_EXISTING);
    try (var s = new ServerSocket(0, 5, InetAddress.getByName("127.0.0.1"))) {
      var t = new Thread(() -> { try (var c = s.accept()) { c.getOutputStream().write(7); } catch (Exception e) { } }); t.start();
      try (var c = new Socket("127.0.0.1", s.getLocalPort())) { if (c.getInputStream().read() != 7) throw new Exception("socket"); } t.join();
    }
    var p = new ProcessBuilder("/bin/sh", "-c", "exit 3").start(); if (p.waitFor() != 3) throw new Exception("process");
    new java.security.SecureRandom().nextInt(); InetAddress.getByName("localhost"); Runtime.getRuntime().availableProcessors(); System.gc();
    java.nio.channels.Selector.open().close(); NetworkInterface.getNetworkInterfaces();
    System.out.println("ok");
  }
}
`
)

// TestInterpretersRun holds the list of allowed system calls to what interpreters
// need: every one that this host has does its work.
func TestInterpretersRun(t *testing.T) {
	t.Parallel()
	p := newPool(t, Options{})
	dir := write(t, t.TempDir(), map[string]string{"work.py": pythonWork, "work.js": nodeWork, "Work.java": javaWork})
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, c := range []struct {
		glob, prefix string // of the program, and what it needs beside itself, relative to it
		args         []string
	}{
		{filepath.Join(home, ".pyenv/versions/3*/bin/python3"), "../..", []string{"/var/task/work.py"}},
		{"/opt/python*/bin/python3", "../..", []string{"/var/task/work.py"}},
		{"/usr/bin/python3", "", []string{"/var/task/work.py"}},
		{"/usr/bin/node", "", []string{"/var/task/work.js"}},
		{"/opt/node*/bin/node", "../..", []string{"/var/task/work.js"}},
		{"/usr/lib/jvm/*/bin/java", "../..", []string{"-Xmx128m", "/var/task/Work.java"}},
	} {
		programs, err := filepath.Glob(c.glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range programs {
			if link, err := os.Lstat(filepath.Dir(filepath.Dir(program))); err == nil && link.Mode()&os.ModeSymlink != 0 {
				continue // another name of one that comes anyway
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(program), "javac")); c.args[0] == "-Xmx128m" && err != nil {
				continue // it can't read sources
			}
			count++
			t.Run(program, func(t *testing.T) {
				t.Parallel()
				s := Spec{Task: dir}
				if c.prefix != "" {
					top := filepath.Join(program, c.prefix)
					s.Binds = []Bind{{Source: top, Target: top}}
				}
				etc, err := filepath.Glob("/etc/java-*") // where Debian keeps a part of each
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range etc {
					s.Binds = append(s.Binds, Bind{Source: e, Target: e})
				}
				sb := start(t, p, s)
				out, exit := runProcess(t, sb, Process{
					Path: program, Args: append([]string{program}, c.args...), Env: []string{"PATH=/usr/bin:/bin", "HOME=/tmp"},
				})
				if out != "ok\n" || exit != (Exit{}) {
					t.Errorf("it printed %q and ended with %v; want ok", out, exit)
				}
			})
		}
	}
	t.Logf("%d interpreters", count)
}
