"""Hostile function code. Each attempt returns what came of it as a short string: the name of the kernel's answer, or
what it got. The test knows which answer is the right one; an attempt that succeeds says "got ..."."""
import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
# number on x86_64, number on arm64
CALLS = {
    "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "bpf": (321, 280), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "swapon": (167, 224), "swapoff": (168, 225), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116), "vhangup": (153, 58),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "fsopen": (430, 430),
    "fsmount": (432, 432), "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "kcmp": (312, 272), "process_madvise": (440, 440),
    "mbind": (237, 235), "migrate_pages": (256, 238), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "uselib": (134, None), "getpid": (39, 172), "unknown": (1000, 1000), "personality": (135, 92), "memfd_create": (319, 279),
    "shmget": (29, 194), "shmat": (30, 196),
}
NEWNS, NEWUSER, NEWNET, NEWPID = 0x20000, 0x10000000, 0x40000000, 0x20000000


def name(number):
    return errno.errorcode.get(number, str(number))


def syscall(call, *args):
    numbers = CALLS[call]
    number = numbers[0] if X86 else numbers[1]
    if number is None:
        return "EPERM"  # there is no such call here
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return name(ctypes.get_errno()) if got == -1 else "got %d" % got


def tried(f, *args):
    try:
        return "got %.200r" % (f(*args),)
    except OSError as e:
        return name(e.errno)


def worst(answers, want):
    """What one of several answered that is not as the others."""
    bad = ["%s: %s" % (k, v) for k, v in answers.items() if v not in want]
    return "; ".join(bad) if bad else want[0]


def read(path):
    with open(path, "rb") as f:
        return f.read(200)


def write(path):
    with open(path, "wb") as f:
        f.write(b"1")


def set_file(path, value):
    with open(path, "wb", buffering=0) as f:
        f.write(value)


def readable(*paths):
    return worst({p: tried(read, p) for p in paths}, ["ENOENT"])


def refused(*calls):
    return worst({c: syscall(c, 0, 0, 0, 0, 0) for c in calls}, ["EPERM"])


def dial(host, port, family=socket.AF_INET, kind=socket.SOCK_STREAM, data=b""):
    with socket.socket(family, kind) as s:
        s.settimeout(5)
        s.connect((host, port))
        for _ in range(2):
            if kind == socket.SOCK_DGRAM:
                s.send(b"x")
                s.settimeout(0.5)
            elif data:
                s.send(data)
            got = s.recv(200)
            if got or kind == socket.SOCK_STREAM:
                return got
    return b""


def status(field):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return line.split(":")[1].strip()
    return "absent"


def others():
    mine = {str(os.getpid())}
    return sorted(p for p in os.listdir("/proc") if p.isdigit() and p not in mine)


def find(marker, *tops):
    """The files below tops that contain marker."""
    marker = bytes(marker, "ascii")[::-1]  # so that this file does not
    hits = []
    for top in tops:
        for at, dirs, files in os.walk(top):
            if at == "/var":
                dirs.remove("lang")  # the interpreter, large
            for f in files:
                path = os.path.join(at, f)
                try:
                    if stat.S_ISREG(os.stat(path).st_mode) and os.path.getsize(path) < 1 << 20:
                        with open(path, "rb") as opened:
                            if marker in opened.read():
                                hits.append(path)
                except OSError:
                    pass
    return "none" if not hits else "got " + " ".join(hits)


def raises(f, *args):
    """As tried, for functions of Python that wrap the number."""
    try:
        return "got %r" % (f(*args),)
    except ValueError as e:
        return str(e)
    except OSError as e:
        return name(e.errno)


def forked(f, *args):
    """How a child ended that ran f."""
    pid = os.fork()
    if pid == 0:
        try:
            f(*args)
            os._exit(0)
        except BaseException:
            os._exit(9)
    _, status = os.waitpid(pid, 0)
    return "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit %d" % os.WEXITSTATUS(status)


def other_abi():
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # getpid of i386
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def descriptors(e):
    strange = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue
        known = target.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/urandom", "/proc/%d/fd" % os.getpid()))
        if target.endswith("/null"):  # of a mount that is not in this namespace
            known = os.stat("/proc/self/fd/" + fd).st_rdev == os.makedev(1, 3)
        if not known:
            strange.append(target)
            strange.append(tried(os.listdir, "/proc/self/fd/%s/../.." % fd))
    return "known" if not strange else "got " + " ".join(strange)


def own_api(e):
    """The Runtime API speaks of this environment's invocation only."""
    request = b"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % e["victim_request"].encode()
    return dial("169.254.100.1", 9001, data=request).split(b"\r\n")[0].decode()


def api_flood(e):
    """More connections than a server has descriptors, from several processes that stay until the next attempt."""
    for _ in range(8):
        if os.fork() == 0:
            kept = []
            for _ in range(900):
                try:
                    s = socket.create_connection(("127.0.0.1", 9001), 0.2)
                    s.send(b"GET /")
                    kept.append(s)
                except OSError:
                    break
            time.sleep(1.5)
            os._exit(0)
    time.sleep(1)
    return "done"


def reap():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                return
        except ChildProcessError:
            return


def fork_bomb(e):
    made = 0
    try:
        for _ in range(100000):
            os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
            made += 1
    except OSError as x:
        return "%s within 1024" % name(x.errno) if made < 1024 else "got %d" % made
    finally:
        os.kill(-1, signal.SIGKILL)
        reap()
    return "got %d" % made


def thread_bomb(e):
    stop, made = threading.Event(), []
    threading.stack_size(32768)
    try:
        for _ in range(100000):
            t = threading.Thread(target=stop.wait)
            t.start()
            made.append(t)
    except RuntimeError:
        return "refused within 1024" if len(made) < 1024 else "got %d" % len(made)
    finally:
        stop.set()
        for t in made:
            t.join()
        threading.stack_size(0)
    return "got %d" % len(made)


def replicate(e):
    """The classic: everybody forks, nobody stops."""
    while True:
        try:
            os.fork()
        except OSError:
            pass


def memory_bomb(e):
    kept = []
    while True:
        kept.append(bytearray(b"x" * (1 << 20)))


def children_bomb(e):
    """Not the runtime process takes the memory, but many others."""
    for _ in range(8):
        if os.fork() == 0:
            memory_bomb(e)
    while True:
        time.sleep(1)


def memfd_bomb(e):
    fd = int(syscall("memfd_create", b"x", 0).split()[1])
    for i in range(1 << 8):
        os.posix_fallocate(fd, i << 26, 1 << 26)
    return "got 16 GiB"


def shm_bomb(e):
    """System V memory outlives the process that made it."""
    libc.shmat.restype = ctypes.c_void_p
    for i in range(64):
        made = syscall("shmget", 0, 256 << 20, 0o1600)
        if not made.startswith("got"):
            return made
        at = libc.shmat(int(made.split()[1]), None, 0)
        ctypes.memset(at, 1, 256 << 20)
    return "got 16 GiB"


def fill(path, limit):
    total = 0
    block = b"x" * (1 << 20)
    try:
        with open(path, "wb", buffering=0) as f:
            while total < limit:
                total += f.write(block)
    except OSError as x:
        return "%s within %d MiB" % (name(x.errno), limit >> 20)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return "got %d" % total


def inode_bomb(e):
    os.mkdir("/tmp/inodes")
    made = 0
    try:
        while made < 200000:
            os.mknod("/tmp/inodes/%d" % made)
            made += 1
    except OSError as x:
        return "%s within 200000" % name(x.errno)
    finally:
        subprocess.call(["/bin/rm", "-rf", "/tmp/inodes"])
    return "got %d" % made


def fd_bomb(e):
    kept = []
    try:
        while len(kept) < 100000:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as x:
        return "%s within 1024" % name(x.errno) if len(kept) < 1024 else "got %d" % len(kept)
    finally:
        for fd in kept:
            os.close(fd)
    return "got %d" % len(kept)


def pipe_bomb(e):
    """Kernel memory behind descriptors: 450 pipes that want a megabyte each."""
    kept, total = [], 0
    import fcntl
    try:
        for _ in range(450):
            r, w = os.pipe()
            kept += [r, w]
            try:
                total += fcntl.fcntl(w, 1031, 1 << 20)
            except OSError:
                pass
    finally:
        for fd in kept:
            os.close(fd)
    return "bounded" if total <= 128 << 20 else "got %d" % total


def spin(e):
    while True:
        pass


def ignore_and_spin(e):
    for s in range(1, 65):
        try:
            signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    for _ in range(8):
        if os.fork() == 0:
            break
    while True:
        pass


def daemonise(path):
    """A process of its own session, with another parent, that leaves a beat every 10 ms."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path, "wb", buffering=0) as f:
                while True:
                    f.write(b"%f\n" % time.time())
                    time.sleep(0.01)
        os._exit(0)
    os.wait()
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.01)


def daemon_then_spin(e):
    daemonise("/tmp/beat")
    spin(e)


def daemon_gone(e):
    with open("/tmp/beat", "rb") as f:
        before = f.read()
        time.sleep(0.2)
        after = f.read()
    alive = [p for p in others() if p != "1"]
    return "gone" if not after and not alive else "got %d beats, processes %s" % (len(after), alive)


def daemon_stays(e):
    daemonise("/tmp/idle")
    return "started"


def daemon_idle(e):
    """The longest time without a beat: the one between the invocations."""
    time.sleep(0.2)  # for the one after
    with open("/tmp/idle") as f:
        beats = [float(line) for line in f if line.endswith("\n")]
    gap = max([b - a for a, b in zip(beats, beats[1:])] or [0])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(-1, signal.SIGTERM)
    return "stopped meanwhile" if gap > float(e["idle"]) * 0.5 else "got a longest pause of %.3f s of %d beats" % (gap, len(beats))


STATE = {}


def signal_threads(e):
    """A signal may name any thread; those of the init have low numbers."""
    STATE["signalled"] = True
    mine = os.listdir("/proc/self/task")
    for _ in range(20):
        for thread in range(2, 64):
            for number in range(1, 65):
                if str(thread) not in mine:
                    tried(os.kill, thread, number)
    return "done"


def log_bomb(e):
    line = b"x" * 1000 + b"\n"
    for _ in range(16):
        os.write(1, line * 1000)
    return "done"


def escape_by_link(target):
    link = "/tmp/link%d" % time.time_ns()
    os.symlink(target, link)
    return tried(read, link)


def hardlink(e):
    return tried(os.link, "/etc/passwd", "/tmp/passwd")


def suid(e):
    if os.stat("/opt/suid").st_uid != 0:
        return "not of root"
    uid = subprocess.check_output(["/opt/suid", "-u"], env={"LD_LIBRARY_PATH": ""}).decode().strip()
    return "own user" if uid == str(os.getuid()) else "got user " + uid


def chmod_suid(e):
    """A program of one's own, with the bit set."""
    path = "/tmp/suid%d" % time.time_ns()
    with open("/opt/suid", "rb") as f, open(path, "wb") as g:
        g.write(f.read())
    os.chmod(path, 0o6755)
    uid = subprocess.check_output([path, "-u"]).decode().strip()
    return "own user" if uid == str(os.getuid()) else "got user " + uid


def netlink(kind, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.send(struct.pack("=LHHLL", 16 + len(body), kind, 5, 1, 0) + body)
        answer = s.recv(4096)
    code = -struct.unpack_from("=l", answer, 16)[0]
    return name(code) if code else "got it"


def proc_info(e):
    """Addresses of the kernel."""
    with open("/proc/kallsyms") as f:
        top = max(int(line.split()[0], 16) for line, _ in zip(f, range(200)))
    return "hidden" if top == 0 else "got %x" % top


PATHS = ["/", "/opt", "/var/task", "/var/runtime", "/var/lang", "/etc", "/usr", "/usr/bin", "/dev", "/var", "/proc", "/opt/deep"]

ATTEMPTS = {
    # The host's files.
    "read /etc/shadow": lambda e: readable("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_rsa_key"),
    "read homes": lambda e: readable("/root/.ssh/id_rsa", "/root/.bashrc", "/root/.aws/credentials", "/home"),
    "read the data directory": lambda e: readable(e["data"], e["data"] + "/lamina.db", e["data"] + "/root-key.json"),
    "list the root": lambda e: "known" if set(os.listdir("/")) <= set("bin dev etc lambda-entrypoint.sh lib lib32 lib64 libx32 opt proc sbin tmp usr var".split()) else "got %r" % os.listdir("/"),
    "list /etc": lambda e: "known" if set(os.listdir("/etc")) <= set("alternatives crypto-policies group hosts ld.so.cache nsswitch.conf passwd pki resolv.conf ssl".split()) else "got %r" % os.listdir("/etc"),
    "read the server's environment": lambda e: readable("/proc/%s/environ" % e["server"], "/proc/%s/cmdline" % e["server"]),
    "read the init": lambda e: readable("/proc/1/environ", "/proc/1/maps", "/proc/1/mem", "/proc/1/root/etc/shadow", "/proc/1/cwd/x"),
    "climb out by /proc": lambda e: worst({p: tried(read, p) for p in ("/proc/self/root/../../etc/shadow", "/proc/self/cwd/../../../etc/shadow", "/../../etc/shadow")}, ["ENOENT"]),
    "read devices": lambda e: readable("/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/port", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/kvm", "/dev/net/tun", "/dev/fuse", "/dev/loop0", "/dev/tty0", "/dev/ptmx", "/dev/vsock"),
    "open the terminal": lambda e: worst({p: tried(open, p) for p in ("/dev/tty", "/dev/console")}, ["ENOENT"]),
    "read the kernel's memory": lambda e: worst({p: tried(read, p) for p in ("/proc/kcore", "/proc/kmsg", "/proc/kpagecount")}, ["EACCES", "EPERM", "ENOENT"]),
    "see the kernel's addresses": proc_info,
    "see keys of the kernel": lambda e: worst({p: tried(read, p) for p in ("/proc/keys", "/proc/key-users")}, ["got b''"]),
    # The host's settings.
    "write /sys": lambda e: worst({p: tried(write, p) for p in ("/sys/kernel/mm/ksm/run", "/sys/power/state", "/sys/block/vda/queue/nr_requests")}, ["ENOENT"]),
    "write a control group": lambda e: worst({p: tried(write, p) for p in ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent")}, ["ENOENT"]),
    "see control groups": lambda e: "hidden" if all(l.strip().endswith(":/") for l in open("/proc/self/cgroup")) else "got " + open("/proc/self/cgroup").read(),
    "write core_pattern": lambda e: tried(write, "/proc/sys/kernel/core_pattern"),
    "press sysrq": lambda e: tried(write, "/proc/sysrq-trigger"),
    "write sysctls": lambda e: worst({p: tried(write, "/proc/sys/" + p) for p in ("kernel/hostname", "vm/drop_caches", "vm/overcommit_memory", "kernel/panic", "fs/file-max", "net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start", "kernel/modprobe", "fs/mqueue/msg_max")}, ["EACCES", "ENOENT", "EROFS"]),
    "escape the memory killer": lambda e: tried(set_file, "/proc/self/oom_score_adj", b"-1000"),
    "map users": lambda e: worst({p: tried(set_file, "/proc/self/" + p, b"0 0 1") for p in ("uid_map", "gid_map")}, ["EPERM"]),
    # Other functions.
    "find the victim's code": lambda e: find(e["code"], "/var", "/opt", "/tmp", "/etc", "/dev"),
    "find the victim's layer": lambda e: find(e["layer"], "/var", "/opt", "/tmp", "/etc", "/dev"),
    "find the victim's /tmp": lambda e: find(e["tmp"], "/var", "/opt", "/tmp", "/etc", "/dev"),
    "find the victim's environment": lambda e: "none" if not any(bytes(e["env"], "ascii")[::-1] in open("/proc/%s/environ" % p, "rb").read() for p in others() + ["self"] if os.access("/proc/%s/environ" % p, os.R_OK)) else "got it",
    "see other processes": lambda e: "none" if others() in ([], ["1"]) else "got %r" % others(),
    "answer the victim's invocation": own_api,
    "reach the victim's Runtime API": lambda e: worst({h: tried(dial, h, 9001, socket.AF_INET, socket.SOCK_STREAM, b"GET / HTTP/1.0\r\n\r\n") for h in ("169.254.100.2", "169.254.100.5", e["own"])}, ["EHOSTUNREACH"]),
    # The network.
    "reach the host's loopback": lambda e: worst({h: tried(dial, h, e["port"], f) for h, f in (("127.0.0.1", socket.AF_INET), ("127.0.0.2", socket.AF_INET), ("0.0.0.0", socket.AF_INET), ("::1", socket.AF_INET6), ("::ffff:127.0.0.1", socket.AF_INET6), ("localhost", socket.AF_INET))}, ["ECONNREFUSED", "EADDRNOTAVAIL"]),
    "reach the host by the gateway": lambda e: tried(dial, "169.254.100.2", e["port"]),
    "reach the host by its own address": lambda e: tried(dial, e["own"], e["ownport"]),
    "reach the metadata address": lambda e: worst({h: tried(dial, h, 80) for h in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16")}, ["EHOSTUNREACH"]),
    "reach the metadata address by UDP": lambda e: tried(dial, "169.254.169.254", 53, socket.AF_INET, socket.SOCK_DGRAM),
    "reach the relay": lambda e: tried(dial, "169.254.100.4", 1, socket.AF_INET, socket.SOCK_STREAM, b"GET / HTTP/1.0\r\n\r\n"),
    "broadcast": lambda e: worst({h: tried(dial, h, 67, socket.AF_INET, socket.SOCK_DGRAM) for h in ("255.255.255.255",)}, ["EACCES", "ENETUNREACH"]),
    "ask Lamina without a key": lambda e: dial("169.254.100.2", e["api"], data=b"GET /2015-03-31/functions/ HTTP/1.0\r\nHost: x\r\n\r\n").split(b"\r\n")[0].decode()[9:12],
    "connect to the host's abstract socket": lambda e: tried(lambda: socket.socket(socket.AF_UNIX).connect("\0" + e["abstract"])),
    "connect to the host's sockets": lambda e: worst({p: tried(lambda: socket.socket(socket.AF_UNIX).connect(p)) for p in ("/run/docker.sock", "/var/run/docker.sock", "/run/systemd/private", e["socket"])}, ["ENOENT"]),
    "raw sockets": lambda e: worst({"icmp": tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1), "tcp": tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 6), "icmp6": tried(socket.socket, socket.AF_INET6, socket.SOCK_RAW, 58)}, ["EPERM"]),
    "raw sockets of any protocol": lambda e: tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 255),
    "packet sockets": lambda e: tried(socket.socket, 17, socket.SOCK_RAW, 3),
    "vsock": lambda e: tried(socket.socket, 40, socket.SOCK_STREAM, 0),
    "sockets of the kernel's cryptography": lambda e: tried(socket.socket, 38, socket.SOCK_SEQPACKET, 0),
    "bluetooth and other families": lambda e: worst({f: tried(socket.socket, f, socket.SOCK_RAW, 0) for f in (3, 4, 5, 9, 12, 20, 21, 24, 29, 30, 31, 35, 37, 39, 41, 42, 43, 44)}, ["EAFNOSUPPORT"]),
    "firewall by netlink": lambda e: worst({p: tried(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, p) for p in (2, 4, 6, 9, 11, 12, 15, 16)}, ["EPROTONOSUPPORT"]),
    "change the network": lambda e: worst({"route": netlink(24, struct.pack("=BBBBBBBBL", 2, 0, 0, 0, 254, 3, 0, 1, 0)), "link": netlink(16, struct.pack("=BxHlLL", 0, 0, 1, 0, 1))}, ["EPERM"]),
    "serve a privileged port": lambda e: tried(lambda: socket.socket().bind(("0.0.0.0", 80))),
    # Writing where others read.
    "write code, layers and system": lambda e: worst({p: tried(write, p + "/new") for p in PATHS if os.path.isdir(p)}, ["EROFS", "ENOENT", "EACCES"]),
    "replace files": lambda e: worst({p: tried(os.unlink, p) for p in ("/etc/passwd", "/var/task/hostile.py", "/opt/deep/file", "/etc/resolv.conf")}, ["EROFS", "EBUSY", "EACCES"]),
    "change modes": lambda e: worst({p: tried(os.chmod, p, 0o777) for p in ("/", "/opt", "/var/task", "/etc/passwd", "/dev/null")}, ["EROFS", "EPERM"]),
    "write in /dev/shm": lambda e: tried(write, "/dev/shm/x"),
    "link out of /tmp by name": lambda e: worst({t: escape_by_link(t) for t in ("/etc/shadow", "/proc/1/root/etc/shadow", "../../../../etc/shadow", "/proc/%s/root/etc/shadow" % e["server"], e["data"] + "/root-key.json")}, ["ENOENT"]),
    "link out of a layer": lambda e: worst({p: tried(read, "/opt/deep/" + p) for p in ("absolute", "up", "init", "chain")}, ["ENOENT"]),
    "hard links": hardlink,
    "set-user-ID program of a layer": suid,
    "set-user-ID program of one's own": chmod_suid,
    "inherited descriptors": descriptors,
    "make devices": lambda e: worst({"char": tried(os.mknod, "/tmp/mem", stat.S_IFCHR | 0o666, os.makedev(1, 1)), "block": tried(os.mknod, "/tmp/vda", stat.S_IFBLK | 0o666, os.makedev(254, 0))}, ["EPERM"]),
    # Privileges.
    "capabilities": lambda e: "none" if all(int(status(c), 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")) else "got some",
    "new privileges": lambda e: status("NoNewPrivs") + status("Seccomp"),
    "become root": lambda e: worst({"setuid": tried(os.setuid, 0), "setgid": tried(os.setgid, 0), "setgroups": tried(os.setgroups, [0]), "setresuid": tried(os.setresuid, 0, 0, 0)}, ["EPERM", "EINVAL"]),
    "supplementary groups": lambda e: "none" if os.getgroups() in ([], [os.getgid()]) else "got %r" % os.getgroups(),
    "raise limits": lambda e: worst({r: raises(resource.setrlimit, getattr(resource, "RLIMIT_" + r), (1 << 20, 1 << 20)) for r in ("NOFILE", "NPROC", "MEMLOCK")}, ["not allowed to raise maximum limit"]),
    "limits of the init": lambda e: tried(resource.prlimit, 1, resource.RLIMIT_NOFILE, (1, 1)) if hasattr(resource, "prlimit") else "EPERM",
    "real-time priority": lambda e: worst({"fifo": tried(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))), "nice": tried(os.setpriority, os.PRIO_PROCESS, 0, -10)}, ["EPERM", "EACCES"]),
    # Signals.
    "signal outside": lambda e: worst({"server": tried(os.kill, int(e["server"]), 9), "victim": tried(os.kill, 4194300, 9)}, ["ESRCH"]),
    "signal the init": lambda e: worst({s: tried(os.kill, 1, s) for s in (9, 15, 11, 19)}, ["EPERM"]),
    "signal the init by its threads": signal_threads,
    "the init has survived": lambda e: "yes" if "signalled" in STATE else "no: this is another environment",
    "hold of a process outside": lambda e: syscall("pidfd_open", int(e["server"]), 0),
    # System calls.
    "mount": lambda e: refused("mount", "umount2", "pivot_root", "chroot"),
    "mount by descriptors": lambda e: refused("fsopen", "fsmount", "open_tree", "move_mount", "mount_setattr"),
    "unshare": lambda e: worst({f: syscall("unshare", f) for f in (NEWUSER, NEWNS, NEWNET, NEWPID, NEWUSER | NEWNS)}, ["EPERM"]),
    "setns": lambda e: worst({n: syscall("setns", os.open("/proc/self/ns/" + n, os.O_RDONLY), 0) for n in ("mnt", "net", "user", "pid")}, ["EPERM"]),
    "clone with namespaces": lambda e: worst({f: syscall("clone", f | 17, 0, 0, 0, 0) for f in (NEWUSER, NEWNS, NEWNET, NEWUSER | NEWNET)}, ["EPERM"]),
    "clone3": lambda e: syscall("clone3", 0, 88),
    "ptrace": lambda e: worst({r: syscall("ptrace", r, 1, 0, 0) for r in (0, 16, 0x4206)}, ["EPERM"]),
    "memory of others": lambda e: refused("process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    "bpf": lambda e: refused("bpf"),
    "perf": lambda e: refused("perf_event_open"),
    "keyctl": lambda e: refused("add_key", "request_key", "keyctl"),
    "modules": lambda e: refused("init_module", "finit_module", "delete_module"),
    "kexec and reboot": lambda e: worst({"kexec_load": syscall("kexec_load", 0, 0, 0, 0), "kexec_file_load": syscall("kexec_file_load", -1, -1, 0, 0, 0), "reboot": syscall("reboot", 0xfee1dead, 672274793, 0x89abcdef, 0)}, ["EPERM"]),
    "io_uring": lambda e: syscall("io_uring_setup", 8, ctypes.create_string_buffer(256)),
    "userfaultfd": lambda e: refused("userfaultfd"),
    "swap": lambda e: refused("swapon", "swapoff"),
    "names": lambda e: refused("sethostname", "setdomainname"),
    "clocks": lambda e: refused("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    "accounting and quotas": lambda e: refused("acct", "quotactl", "syslog", "vhangup"),
    "file handles": lambda e: refused("open_by_handle_at", "name_to_handle_at", "fanotify_init"),
    "ports and segments": lambda e: refused("iopl", "ioperm", "modify_ldt", "uselib"),
    "memory of other processors": lambda e: refused("mbind", "migrate_pages", "personality"),
    "a call that nobody knows": lambda e: syscall("unknown"),
    "calls of x32": lambda e: name(ctypes.get_errno()) if libc.syscall(ctypes.c_long(0x40000000 + 39)) == -1 else "got it",
    "calls of i386": lambda e: forked(other_abi) if X86 else "signal 31",
    # Bombs.
    "fork bomb": fork_bomb,
    "thread bomb": thread_bomb,
    "descriptor bomb": fd_bomb,
    "pipe bomb": pipe_bomb,
    "disk bomb": lambda e: fill("/tmp/big", 4 << 30),
    "inode bomb": inode_bomb,
    "log bomb": log_bomb,
    "connection flood": api_flood,
    "memory bomb": memory_bomb,
    "memory bomb of many": children_bomb,
    "memory bomb without a file": memfd_bomb,
    "memory bomb that outlives": shm_bomb,
    "replicate": replicate,
    "spin": spin,
    "ignore signals and spin": ignore_and_spin,
    "kill everybody": lambda e: (os.posix_spawn("/bin/sleep", ["sleep", "60"], {}), os.kill(-1, signal.SIGKILL)) and "nobody but its own",
    "crash": lambda e: ctypes.string_at(0),
    "daemon, then spin": daemon_then_spin,
    "daemon is gone": daemon_gone,
    "daemon stays": daemon_stays,
    "daemon is idle": daemon_idle,
}


def handler(e, context):
    reap()
    return ATTEMPTS[e["attempt"]](e)
