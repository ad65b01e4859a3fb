package contents

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
)

// native is machine code, as far as the beginning of its file tells.
type native struct {
	path string
	// format is ELF, Mach-O (macOS) or PE (Windows).
	format string
	// machine is an architecture of Lambda's, or what else an ELF file is for; empty
	// where the format is another.
	machine string
	musl    bool
	glibc   int // minor version of the C library that it wants at least; 0 is not known
}

// Bounds of looking for machine code.
const (
	maxNative   = 4096      // files
	nativeBytes = 256 << 10 // of each; what a library needs is named near its beginning
)

// mayBeNative reports whether a file's name and mode are those of machine code that
// something loads.
func mayBeNative(e Entry) bool {
	if e.Kind != lamina.ArchiveFile || e.Size < 20 {
		return false
	}
	name := e.Name()
	switch path.Ext(name) {
	case ".so", ".node", ".dylib", ".dll", ".pyd":
		return true
	case "":
		return e.Mode&0o100 != 0
	}
	return strings.Contains(name, ".so.")
}

// natives reads the beginnings of all files that may be machine code. Those that
// packages bring for every platform, of which they choose one, are left out.
func (t *Tree) natives(ctx context.Context) (all []native, err error) {
	var in lamina.Inflater
	p := prefix{most: nativeBytes, enough: func(data []byte) bool { return len(data) >= 20 && format(data) != "ELF" }}
	read := 0
	for _, e := range t.Entries {
		if !mayBeNative(e) || slices.Contains(strings.Split(e.Path, "/"), "prebuilds") {
			continue
		}
		if read++; read > maxNative {
			break
		}
		data, err := p.read(ctx, &in, e)
		if err != nil {
			return nil, err
		}
		if n, ok := parseNative(data); ok {
			n.path = e.Path
			all = append(all, n)
		}
	}
	return all, nil
}

// format tells what machine code begins so, or returns nothing.
func format(data []byte) string {
	if len(data) < 20 {
		return ""
	}
	be := binary.BigEndian.Uint32(data)
	switch {
	case be == 0x7f454c46:
		return "ELF"
	case be == 0xfeedface || be == 0xfeedfacf || be == 0xcefaedfe || be == 0xcffaedfe:
		return "Mach-O"
	case be == 0xcafebabe && binary.BigEndian.Uint32(data[4:]) < 20: // class files of Java begin so, too, with a version
		return "Mach-O"
	case data[0] == 'M' && data[1] == 'Z':
		return "PE"
	}
	return ""
}

// Machines of ELF files.
var machines = map[uint16]string{3: "32-bit x86", 40: "32-bit ARM", 62: "x86_64", 183: "arm64", 243: "RISC-V", 21: "PowerPC", 22: "S/390"}

// parseNative reads the beginning of a file. It reports false for what is no
// machine code that anybody loads.
func parseNative(data []byte) (native, bool) {
	n := native{format: format(data)}
	switch n.format {
	case "":
		return native{}, false
	case "ELF":
	default:
		return n, true
	}
	var order binary.ByteOrder = binary.LittleEndian
	if data[5] == 2 {
		order = binary.BigEndian
	}
	const executable, shared = 2, 3
	if kind := order.Uint16(data[16:]); kind != executable && kind != shared {
		return native{}, false // an object file
	}
	machine := order.Uint16(data[18:])
	n.machine = machines[machine]
	if n.machine == "" {
		n.machine = "machine " + strconv.Itoa(int(machine))
	}
	// The names of libraries, of the linker and of versions are strings between NULs.
	n.musl = bytes.Contains(data, []byte("\x00libc.musl-")) || bytes.Contains(data, []byte("\x00/lib/ld-musl-"))
	n.glibc = glibcMinor(data)
	return n, true
}

// glibcMinor returns the highest version 2.x of the C library that is asked for.
func glibcMinor(data []byte) int {
	most := 0
	mark := []byte("\x00GLIBC_2.")
	for {
		i := bytes.Index(data, mark)
		if i < 0 {
			return most
		}
		data = data[i+len(mark):]
		digits := 0
		for digits < len(data) && digits < 3 && data[digits] >= '0' && data[digits] <= '9' {
			digits++
		}
		if minor, err := strconv.Atoi(string(data[:digits])); err == nil {
			most = max(most, minor)
		}
	}
}

// amazonLinux2 are the runtimes whose C library is that of Amazon Linux 2. The
// newer ones have that of Amazon Linux 2023.
var amazonLinux2 = []string{
	"python3.8", "python3.9", "python3.10", "python3.11", "nodejs16.x", "nodejs18.x", "java8.al2", "java11", "java17",
	"ruby3.2", "dotnet6", "provided.al2",
}

// glibcOf is the minor version of the C library that a runtime has on AWS.
func glibcOf(runtime string) int {
	if slices.Contains(amazonLinux2, runtime) {
		return 26
	}
	return 34
}

// nativeMistakes compares machine code with what is declared.
func (t *Tree) nativeMistakes(ctx context.Context, u Use) ([]Mistake, error) {
	all, err := t.natives(ctx)
	if err != nil {
		return nil, err
	}
	var foreign, musl, wrong group
	var newer group
	newest := 0
	have := map[string]group{}
	for _, n := range all {
		switch {
		case n.format != "ELF":
			foreign.add(n.path)
			continue
		case n.machine != "x86_64" && n.machine != "arm64" || len(u.Architectures) > 0 && !slices.Contains(u.Architectures, n.machine):
			wrong.add(n.path)
			wrong.what = appendNew(wrong.what, n.machine)
			continue
		}
		g := have[n.machine]
		g.add(n.path)
		have[n.machine] = g
		if n.musl {
			musl.add(n.path)
		}
		for _, r := range u.Runtimes {
			if n.glibc > glibcOf(r) && !n.musl {
				if newest < n.glibc {
					newest = n.glibc
				}
				newer.what = appendNew(newer.what, r)
			}
		}
		if n.glibc > 0 && slices.ContainsFunc(u.Runtimes, func(r string) bool { return n.glibc > glibcOf(r) }) && !n.musl {
			newer.add(n.path)
		}
	}
	var out []Mistake
	if foreign.count > 0 {
		out = append(out, foreign.mistake(Platform, Error, "is machine code of macOS or Windows, which Linux does not load",
			"build or install it for Linux: lamina layer build does, or pip install --platform, or npm install --os=linux"))
	}
	if wrong.count > 0 {
		declared := "Lambda runs x86_64 and arm64"
		if len(u.Architectures) > 0 {
			declared = "declared is " + list(u.Architectures)
		}
		out = append(out, wrong.mistake(Architecture, Error, fmt.Sprintf("is for %s, and %s", list(wrong.what), declared),
			"build it for the declared architecture: lamina layer build --arch, or declare what it is for"))
	}
	if len(u.Architectures) > 1 && len(have) == 1 {
		for machine, g := range have {
			for _, declared := range u.Architectures {
				if declared != machine {
					out = append(out, g.mistake(Architecture, Error, fmt.Sprintf("is for %s, and there is nothing like it for %s, which is declared too", machine, declared),
						"make a layer for each architecture, and declare the one that it is for"))
				}
			}
		}
	}
	if musl.count > 0 {
		out = append(out, musl.mistake(Platform, Error, "is made for musl (Alpine Linux); Lambda's runtimes have glibc",
			"install the variant for glibc: manylinux wheels, linux-x64 rather than linuxmusl-x64"))
	}
	if newer.count > 0 {
		out = append(out, newer.mistake(CLibrary, Warning, fmt.Sprintf("wants glibc 2.%d, which %s does not have on AWS", newest, list(newer.what)),
			"build it on Amazon Linux, or take a wheel of an older manylinux; here it is the machine's glibc that counts"))
	}
	return out, nil
}
