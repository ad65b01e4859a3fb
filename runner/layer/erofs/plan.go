package erofs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"
)

// Sizes of the format.
const (
	block         = 4096 // what every kernel with EROFS takes
	slot          = 32   // inodes begin at a multiple of it
	inodeLength   = 64   // of an extended one, the kind that has a time of its own
	direntLength  = 12
	nameLength    = 255
	superOffset   = 1024
	superLength   = 128
	maxInline     = block / 2 // a longer end of a file would leave more unused behind inodes than in a block of its own
	maxBlocks     = math.MaxUint32
	kindFile      = 1
	kindDirectory = 2
	kindSymlink   = 7
)

// Node is one name of the tree.
type Node struct {
	// Name is a clean relative path with slashes, never ".". Directories above it
	// need no node of their own.
	Name string
	// Mode has permissions, and [fs.ModeDir] or [fs.ModeSymlink] or neither.
	Mode     fs.FileMode
	Modified time.Time
	// Size is the number of bytes of a file, or of the target of a symlink; it is
	// ignored for directories.
	Size int64
}

// Image is the plan of an image.
type Image struct {
	inodes []inode // the root, then the nodes in their order, then directories without a node
	blocks uint32
	built  time.Time
}

// inode is a node and its places.
type inode struct {
	name     string // its last part
	mode     uint16 // of stat
	modified time.Time
	size     int64
	parent   int32
	links    uint32
	children []int32 // by name

	at     int64  // of the inode in the image, in bytes
	first  uint32 // block of content
	inline int    // bytes of content behind the inode
}

// Types of stat's mode.
const (
	modeDirectory = 0o040000
	modeFile      = 0o100000
	modeSymlink   = 0o120000
	modeType      = 0o170000
)

// ErrTree says that nodes are no tree: a name twice, one below a file, one that
// is not clean or too long, a size that can't be.
var ErrTree = errors.New("not a tree")

// Plan places the nodes and the directories above them. Directories without a
// node, the root first of all, get mode 0755 and the time implied. The same
// arguments make the same image, byte by byte. The error is [ErrTree], or that
// the image would be larger than the format allows.
func Plan(nodes []Node, implied time.Time) (*Image, error) {
	m := &Image{inodes: make([]inode, 1, len(nodes)+1), built: implied}
	m.inodes[0] = inode{mode: modeDirectory | 0o755, modified: implied}
	if err := m.grow(nodes, implied); err != nil {
		return nil, err
	}
	return m, m.place()
}

// Size is the length of the image in bytes.
func (m *Image) Size() int64 { return int64(m.blocks) * block }

// grow makes the inodes and hangs them into their directories.
func (m *Image) grow(nodes []Node, implied time.Time) error {
	directories := map[string]int32{"": 0}
	for i, n := range nodes {
		node := inode{mode: uint16(n.Mode.Perm()), modified: n.Modified, size: n.Size, links: 1}
		switch n.Mode.Type() {
		case fs.ModeDir:
			node.mode, node.size, node.links = node.mode|modeDirectory, 0, 2
			directories[n.Name] = int32(i + 1)
		case fs.ModeSymlink:
			node.mode |= modeSymlink
		case 0:
			node.mode |= modeFile
		default:
			return fmt.Errorf("%q: mode %v: %w", n.Name, n.Mode, ErrTree)
		}
		if node.size < 0 || node.size > maxBlocks*block {
			return fmt.Errorf("%q: size %d: %w", n.Name, n.Size, ErrTree)
		}
		m.inodes = append(m.inodes, node)
	}
	// adopt puts one inode below its directory, and returns that.
	adopt := func(child int32, name string) (parent int32, above string, known bool, err error) {
		above, last := "", name
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			above, last = name[:i], name[i+1:]
		}
		if last == "" || last == "." || last == ".." || len(last) > nameLength || strings.IndexByte(last, 0) >= 0 || above == "" && len(last) < len(name) {
			return 0, "", false, fmt.Errorf("%q: %w", name, ErrTree)
		}
		parent, known = directories[above]
		if !known {
			parent = int32(len(m.inodes))
			directories[above] = parent
			m.inodes = append(m.inodes, inode{mode: modeDirectory | 0o755, modified: implied, links: 2})
		}
		c, p := &m.inodes[child], &m.inodes[parent]
		c.name, c.parent = last, parent
		p.children = append(p.children, child)
		if c.mode&modeType == modeDirectory {
			p.links++
		}
		return parent, above, known, nil
	}
	m.inodes[0].links = 2
	for i, n := range nodes {
		at, name := int32(i+1), n.Name
		for {
			parent, above, known, err := adopt(at, name)
			if err != nil {
				return err
			}
			if known {
				break
			}
			at, name = parent, above
		}
	}
	for i := range m.inodes {
		children := m.inodes[i].children
		slices.SortFunc(children, func(a, b int32) int { return strings.Compare(m.inodes[a].name, m.inodes[b].name) })
		for j := 1; j < len(children); j++ {
			if name := m.inodes[children[j]].name; name == m.inodes[children[j-1]].name {
				return fmt.Errorf("%q is there twice: %w", name, ErrTree)
			}
		}
	}
	return nil
}

// place gives every inode and its content a place. Inodes of one directory are
// neighbours; blocks of content are in the order of the nodes, in which they are
// likely to be written and, if a tool made the zip directory by directory, read.
func (m *Image) place() error {
	next := int64(superOffset + superLength)
	put := func(n *inode) {
		if rest := n.size % block; rest <= maxInline {
			n.inline = int(rest)
		}
		// Neither an inode nor what follows it may cross the end of a block.
		if left := block - next%block; left < inodeLength+int64(n.inline) {
			next += left
		}
		n.at = next
		next += (inodeLength + int64(n.inline) + slot - 1) / slot * slot
	}
	queue := make([]int32, 1, len(m.inodes))
	m.inodes[0].size = m.directoryLength(0)
	put(&m.inodes[0])
	for len(queue) > 0 {
		for _, child := range m.inodes[queue[0]].children {
			n := &m.inodes[child]
			if n.mode&modeType == modeDirectory {
				n.size = m.directoryLength(child)
				queue = append(queue, child)
			}
			put(n)
		}
		queue = queue[1:]
	}
	blocks := (next + block - 1) / block
	for i := range m.inodes {
		n := &m.inodes[i]
		n.first = uint32(blocks)
		if blocks += (n.size - int64(n.inline) + block - 1) / block; blocks > maxBlocks {
			return fmt.Errorf("plan image: more than %d blocks", int64(maxBlocks))
		}
	}
	m.blocks = uint32(blocks)
	return nil
}

// entry is one name in a directory, its own and its parent's too.
type entry struct {
	name string
	node int32
}

// entries are what a directory lists, in the order in which the kernel searches:
// by bytes, "." and ".." among the others.
func (m *Image) entries(dir int32) []entry {
	n := &m.inodes[dir]
	list := make([]entry, 0, len(n.children)+2)
	own := []entry{{".", dir}, {"..", n.parent}}
	for _, child := range n.children {
		name := m.inodes[child].name
		for len(own) > 0 && own[0].name < name {
			list, own = append(list, own[0]), own[1:]
		}
		list = append(list, entry{name, child})
	}
	return append(list, own...)
}

// split calls each with the entries of every block of a directory and the bytes
// that they take.
func split(list []entry, each func(entries []entry, length int)) {
	begin, length := 0, 0
	for i, e := range list {
		if more := direntLength + len(e.name); length+more > block {
			each(list[begin:i], length)
			begin, length = i, more
		} else {
			length += more
		}
	}
	each(list[begin:], length)
}

func (m *Image) directoryLength(dir int32) (size int64) {
	last := 0
	split(m.entries(dir), func(_ []entry, length int) { size, last = size+block, length })
	return size - block + int64(last)
}
