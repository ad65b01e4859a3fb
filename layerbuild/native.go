package layerbuild

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// machines are the names of processors that native code is for, by their ELF
// numbers.
var machines = map[uint16]string{
	uint16(elf.EM_X86_64): X86, uint16(elf.EM_AARCH64): "aarch64", uint16(elf.EM_386): "i386", uint16(elf.EM_ARM): "arm", uint16(elf.EM_PPC64): "ppc64",
	uint16(elf.EM_S390): "s390x", uint16(elf.EM_RISCV): "riscv64", uint16(elf.EM_LOONGARCH): "loong64",
}

// machineOf returns what processor a file's code is for, or "" for a file that
// Linux can't load or run.
func machineOf(f *file) (string, error) {
	if f.dir || f.target != "" || f.size < 64 {
		return "", nil
	}
	in, err := f.open()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", f.name, err)
	}
	defer in.Close()
	head := make([]byte, 20)
	if _, err := io.ReadFull(in, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		return "", fmt.Errorf("read %s: %w", f.name, err)
	}
	if string(head[:4]) != elf.ELFMAG {
		return "", nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	number := order.Uint16(head[18:])
	if name, ok := machines[number]; ok {
		return name, nil
	}
	return "machine " + strconv.Itoa(int(number)), nil
}

// checkNative notes native code that the target can't load.
func (b *builder) checkNative(files *tree) error {
	type found struct{ right, wrong int }
	groups := map[string]*found{}
	var newer []string
	for i := range files.files {
		f := &files.files[i]
		machine, err := machineOf(f)
		if err != nil {
			return err
		}
		if machine == "" {
			continue
		}
		g := groups[f.group]
		if g == nil {
			g = &found{}
			groups[f.group] = g
		}
		if machine != b.target.machine() {
			g.wrong++
			continue
		}
		g.right++
		if needs := glibcOf(f); needs > b.target.glibc {
			newer = append(newer, fmt.Sprintf("%s needs 2.%d", path.Base(f.name), needs))
		}
	}
	var wrong []string
	for _, group := range sortedKeys(groups) {
		if g := groups[group]; g.right == 0 {
			wrong = append(wrong, group)
		}
	}
	if len(wrong) > 0 {
		b.note("native code that is not for %s, and none that is: %s", b.target.arch, some(wrong))
	}
	if len(newer) > 0 {
		b.note("AWS's %s has the C library 2.%d: %s", b.target.runtime, b.target.glibc, some(newer))
	}
	return nil
}

// maxELF bounds what is looked at of native code.
const maxELF = 256 << 20

// glibcOf returns the minor version of the GNU C library that native code needs,
// 0 when it needs none or can't be read.
func glibcOf(f *file) (minor int) {
	if f.size > maxELF {
		return 0
	}
	in, err := f.open()
	if err != nil {
		return 0
	}
	defer in.Close()
	at, ok := in.(io.ReaderAt)
	if !ok {
		return 0
	}
	defer func() {
		if recover() != nil { // debug/elf does not promise to bear any bytes
			minor = 0
		}
	}()
	e, err := elf.NewFile(at)
	if err != nil {
		return 0
	}
	needs, err := e.DynamicVersionNeeds()
	if err != nil {
		return 0
	}
	for _, need := range needs {
		for _, v := range need.Needs {
			if text, ok := strings.CutPrefix(v.Dep, "GLIBC_2."); ok {
				text, _, _ = strings.Cut(text, ".")
				if n, err := strconv.Atoi(text); err == nil {
					minor = max(minor, n)
				}
			}
		}
	}
	return minor
}
