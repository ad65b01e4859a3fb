package sandbox

import (
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, whose arguments are 64 bits wide; both
// architectures are little endian.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16
	offArg1   = 24
	offArg2   = 32
)

// newNamespaces are the flags with which clone would make a namespace.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// allowed are the system calls that a function has. Whatever is in no list of
// this file answers ENOSYS, as on a kernel that does not have it: programs know
// how to do without. archAllowed adds those that only one architecture has.
var allowed = []uint32{
	// Files.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_LSEEK,
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FCNTL,
	unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_GETDENTS64, unix.SYS_GETCWD,
	unix.SYS_CHDIR, unix.SYS_FCHDIR, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT,
	unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK,
	unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE, unix.SYS_FADVISE64, unix.SYS_READAHEAD, unix.SYS_FLOCK,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_TEE, unix.SYS_VMSPLICE, unix.SYS_PIPE2,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR,
	unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
	unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH,
	unix.SYS_IO_SETUP, unix.SYS_IO_DESTROY, unix.SYS_IO_SUBMIT, unix.SYS_IO_CANCEL, unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS,
	// Waiting.
	unix.SYS_PSELECT6, unix.SYS_PPOLL, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2,
	unix.SYS_EVENTFD2, unix.SYS_SIGNALFD4, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_FUTEX, unix.SYS_FUTEX_WAITV, unix.SYS_FUTEX_WAKE, unix.SYS_FUTEX_WAIT, unix.SYS_FUTEX_REQUEUE,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST,
	// Memory.
	unix.SYS_BRK, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MSYNC, unix.SYS_MINCORE,
	unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MUNLOCK, unix.SYS_MLOCKALL, unix.SYS_MUNLOCKALL, unix.SYS_MEMFD_CREATE, unix.SYS_MSEAL,
	unix.SYS_PKEY_MPROTECT, unix.SYS_PKEY_ALLOC, unix.SYS_PKEY_FREE, unix.SYS_MEMBARRIER, unix.SYS_MAP_SHADOW_STACK,
	// Processes.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4, unix.SYS_WAITID,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_SET_TID_ADDRESS, unix.SYS_RSEQ,
	unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_SETPGID, unix.SYS_GETPGID, unix.SYS_SETSID, unix.SYS_GETSID, unix.SYS_PRCTL, unix.SYS_UNAME, unix.SYS_SYSINFO,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRESUID, unix.SYS_GETRESGID, unix.SYS_GETGROUPS,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETGROUPS, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_CAPGET, unix.SYS_CAPSET,
	unix.SYS_GETRLIMIT, unix.SYS_SETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_TIMES,
	unix.SYS_GETPRIORITY, unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_GET, unix.SYS_IOPRIO_SET, unix.SYS_GETCPU,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_SETPARAM,
	unix.SYS_SCHED_GETSCHEDULER, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_GET_PRIORITY_MAX, unix.SYS_SCHED_GET_PRIORITY_MIN,
	unix.SYS_SCHED_RR_GET_INTERVAL, unix.SYS_SCHED_GETATTR, unix.SYS_SCHED_SETATTR,
	unix.SYS_SECCOMP, unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF,
	// Signals and time.
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_RT_SIGSUSPEND, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_GETITIMER, unix.SYS_SETITIMER,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_GETOVERRUN, unix.SYS_TIMER_DELETE,
	unix.SYS_GETRANDOM,
	// Sockets; which, is decided below.
	unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_CONNECT, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG,
	// What processes of one IPC namespace share.
	unix.SYS_SEMGET, unix.SYS_SEMCTL, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMDT, unix.SYS_SHMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
	unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK, unix.SYS_MQ_TIMEDSEND, unix.SYS_MQ_TIMEDRECEIVE, unix.SYS_MQ_NOTIFY, unix.SYS_MQ_GETSETATTR,
}

// refused are the system calls that answer EPERM, which is what programs that
// can do without them expect: what changes the host or the namespaces, looks
// into other processes, or is a large part of the kernel that no function needs.
// archRefused adds those that only one architecture has.
var refused = []uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_NFSSERVCTL,
	unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY, unix.SYS_GET_MEMPOLICY, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_PERSONALITY,
}

// pretended are the system calls that do nothing and say that they did. What a
// function can write is in memory; it must not make the host's disks work.
var pretended = []uint32{unix.SYS_SYNC, unix.SYS_SYNCFS}

// families are the kinds of socket there are inside. Others, such as AF_VSOCK
// and AF_ALG, do not know network namespaces or are kernel surface for nothing.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}

// protocols are those of their third argument. A raw socket would need one of
// them, too, and a capability.
var protocols = []uint32{0, unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6}

// answerOf makes a system call return e without being made; zero is success.
func answerOf(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

var (
	allow = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	arg0  = bpf.LoadAbsolute{Off: offArg0, Size: 4}
	arg1  = bpf.LoadAbsolute{Off: offArg1, Size: 4}
	arg2  = bpf.LoadAbsolute{Off: offArg2, Size: 4}
)

func equal(v uint32, skipFalse uint8) bpf.Instruction {
	return bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: skipFalse}
}

// oneOf goes on behind itself when the register is one of values, and else does
// what otherwise is.
func oneOf(values []uint32, otherwise bpf.Instruction) []bpf.Instruction {
	var p []bpf.Instruction
	for i, v := range values {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(p, otherwise)
}

// decided are the system calls whose arguments count. Each program ends by
// returning. Only the low half of an argument is looked at: the kernel, too,
// takes these for 32 bits.
func decided() map[uint32][]bpf.Instruction {
	socket := []bpf.Instruction{arg0, equal(unix.AF_NETLINK, 4), arg2, equal(unix.NETLINK_ROUTE, 1), allow, answerOf(unix.EPROTONOSUPPORT)}
	socket = append(socket, oneOf(families, answerOf(unix.EAFNOSUPPORT))...)
	socket = append(socket, equal(unix.AF_UNIX, 1), allow, arg2)
	socket = append(socket, oneOf(protocols, answerOf(unix.EPROTONOSUPPORT))...)
	socket = append(socket, allow)
	// The sandbox's first process. Without a server that is root it has the
	// function's user, and the kernel would let it be signalled.
	notInit := []bpf.Instruction{arg0, equal(1, 1), answerOf(unix.EPERM), allow}
	return map[uint32][]bpf.Instruction{
		unix.SYS_KILL: notInit, unix.SYS_TKILL: notInit, unix.SYS_TGKILL: notInit, unix.SYS_PIDFD_OPEN: notInit,
		unix.SYS_RT_SIGQUEUEINFO: notInit, unix.SYS_RT_TGSIGQUEUEINFO: notInit, unix.SYS_PRLIMIT64: notInit,

		unix.SYS_SOCKET:     socket,
		unix.SYS_SOCKETPAIR: {arg0, equal(unix.AF_UNIX, 1), allow, answerOf(unix.EAFNOSUPPORT)},
		unix.SYS_CLONE: {
			arg0, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1}, answerOf(unix.EPERM), allow,
		},
		// Its flags are behind a pointer. ENOSYS makes libc use clone.
		unix.SYS_CLONE3: {answerOf(unix.ENOSYS)},
		// Typing into a terminal, for whoever reads it next.
		unix.SYS_IOCTL: append(append([]bpf.Instruction{arg1}, equal(unix.TIOCSTI, 1), answerOf(unix.EPERM)),
			equal(unix.TIOCLINUX, 1), answerOf(unix.EPERM), allow),
	}
}

// span is a range of system calls, up to the next one's first, with the same program.
type span struct {
	first uint32
	body  []bpf.Instruction
}

// spans is the whole range of numbers, in order.
func spans() []span {
	unknown, permit, no, done := answerOf(unix.ENOSYS), bpf.Instruction(allow), answerOf(unix.EPERM), answerOf(0)
	bodies := map[uint32][]bpf.Instruction{}
	for _, list := range []struct {
		numbers []uint32
		verdict bpf.Instruction
	}{{allowed, permit}, {archAllowed, permit}, {refused, no}, {archRefused, no}, {pretended, done}} {
		for _, n := range list.numbers {
			bodies[n] = []bpf.Instruction{list.verdict}
		}
	}
	for n, body := range decided() {
		bodies[n] = body
	}
	same := func(a, b []bpf.Instruction) bool { return len(a) == 1 && len(b) == 1 && a[0] == b[0] }
	var last uint32
	for n := range bodies {
		last = max(last, n)
	}
	var all []span
	for n := range last + 2 { // one more, which is unknown
		body, ok := bodies[n]
		if !ok {
			body = []bpf.Instruction{unknown}
		}
		if len(all) == 0 || !same(all[len(all)-1].body, body) {
			all = append(all, span{n, body})
		}
	}
	return all
}

// search finds the span of the number in the register, by halves.
func search(all []span) []bpf.Instruction {
	if len(all) == 1 {
		return all[0].body
	}
	middle := len(all) / 2
	lower, upper := search(all[:middle]), search(all[middle:])
	var p []bpf.Instruction
	if len(lower) <= 255 {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: all[middle].first, SkipTrue: uint8(len(lower))})
	} else {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: all[middle].first, SkipFalse: 1}, bpf.Jump{Skip: uint32(len(lower))})
	}
	return slices.Concat(p, lower, upper)
}

// seccompProgram is what the kernel runs before every system call of a function.
// It keeps the verdict for those whose arguments don't count, so its length costs little.
func seccompProgram() []bpf.Instruction {
	prog := []bpf.Instruction{
		// Another ABI has other numbers for the same calls.
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
	}
	return append(prog, search(spans())...)
}

func seccompFilter() ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(seccompProgram())
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}
