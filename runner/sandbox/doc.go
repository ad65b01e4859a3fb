// Package sandbox answers one question: how does a function's process run
// without seeing the host or another function?
//
// A sandbox is a process tree in namespaces of its own. Its first process is
// this same binary, started as `lamina init`; it prepares everything that every
// function needs (root, /proc, /dev, loopback, the listener of the Runtime API)
// and then waits in the [Pool] until a function wants it:
//
//	server                                 lamina init (PID 1 of its namespace)
//	Pool.Run    -- clone, hello ---------> root, /proc, /dev, lo, listener
//	            <- ready, listener fd ---- parked
//	Pool.Start  -- start, mount fds -----> /var/task, /opt, /tmp, binds; seal
//	Sandbox.Exec -- exec ----------------> uid, capabilities, seccomp, execve
//	            <- pid, status fd --------
//	Exited      <- exit ------------------ reaps every child
//	Sandbox.Close -- SIGKILL ------------> the kernel kills the whole namespace
//
// The process inside gets an unprivileged user, no capability, no_new_privs, a
// seccomp filter, a read-only root with the host's /usr and generated /etc,
// /var/task and /opt read-only, and a private /tmp. Its network is its own:
// 127.0.0.1 and 169.254.100.1, where the Runtime API answers on port 9001, and
// with a [Network] a device that leads to the server (package nat), which decides
// about every connection.
//
// Without privileges a sandbox lives in a user namespace, and is cloned by a
// small process on the server's behalf ([Spawn]).
//
// Images that archives became are mounted in a namespace of their own, which a
// thread of the server holds ([Images]): what a sandbox shows of them is cloned
// there, everything else in the host's namespace.
//
// Which directories are the code, the layers and the language is the caller's
// business ([Spec]); so are the Runtime API served on [Sandbox.Listener] and the
// meaning of an [Exit].
//
// Memory, processors and processes are limited by a control group, of either
// version, which is made and entered while the sandbox is parked. The same group
// freezes what is inside between invocations ([Sandbox.Idle], [Sandbox.Wake]).
// A server holds a lock on its part of the tree; the next one removes what a
// killed one left. Disk bandwidth is not limited; [Probe] says what this host
// enforces.
package sandbox
