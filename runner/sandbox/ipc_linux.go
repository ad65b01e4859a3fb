package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// removeIPC removes what outlives processes besides files: memory, semaphores
// and queues of System V. A killed function must not begin with its memory used up.
func (p *initProcess) removeIPC() error {
	for _, kind := range []struct {
		name   string
		remove func(id int) error
	}{
		{"shm", func(id int) error {
			_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			return err
		}},
		{"msg", func(id int) error { return control(unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID, 0) }},
		{"sem", func(id int) error { return control(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID) }},
	} {
		table, err := os.ReadFile(p.root.path("/proc/sysvipc/" + kind.name))
		if os.IsNotExist(err) {
			continue // a kernel without
		}
		if err != nil {
			return step("list shared memory", err)
		}
		for _, id := range identifiers(table) {
			if err := kind.remove(id); err != nil && err != unix.EINVAL && err != unix.EIDRM {
				return step("remove shared memory", err)
			}
		}
	}
	return nil
}

func control(trap, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(trap, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// identifiers are the second column of a table in /proc/sysvipc, whose first line
// is a heading.
func identifiers(table []byte) (ids []int) {
	for line := range bytes.Lines(table) {
		if f := strings.Fields(string(line)); len(f) > 1 {
			if id, err := strconv.Atoi(f[1]); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
