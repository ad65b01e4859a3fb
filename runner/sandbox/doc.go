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
// /var/task and /opt read-only, and a private /tmp. The network has loopback
// only: 127.0.0.1 and 169.254.100.1, where the Runtime API answers on port 9001.
//
// Which directories are the code, the layers and the language is the caller's
// business ([Spec]); so are the Runtime API served on [Sandbox.Listener] and the
// meaning of an [Exit]. Memory, CPU and disk bandwidth are not limited here yet;
// [Probe] says what this host enforces.
package sandbox
