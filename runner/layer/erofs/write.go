package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	magic        = 0xe0f5e1e2
	blockBits    = 12
	extended     = 1      // an inode of 64 bytes
	layoutPlain  = 0 << 1 // whole blocks only
	layoutInline = 2 << 1 // the end follows the inode
	noBlock      = 0xffffffff
)

// WriteTree writes all but files and symlinks into out, which reads as zeros
// where nothing was written. It may run beside [Contents].
func (m *Image) WriteTree(out io.WriterAt) error {
	if err := m.writeSuper(out); err != nil {
		return err
	}
	c := m.Contents(out)
	var data []byte
	for i := range m.inodes {
		if m.inodes[i].mode&modeType != modeDirectory {
			continue
		}
		data = m.appendDirectory(data[:0], int32(i))
		c.begin(i)
		if _, err := c.Write(data); err != nil {
			return err
		}
		if err := c.End(); err != nil {
			return err
		}
	}
	return nil
}

// writeSuper writes the superblock. It declares no checksum, which would cover
// the first inodes too.
func (m *Image) writeSuper(out io.WriterAt) error {
	var b [superLength]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], magic)
	b[12] = blockBits
	le.PutUint16(b[14:], uint16(m.inodes[0].at/slot))
	le.PutUint64(b[16:], uint64(len(m.inodes)))
	le.PutUint64(b[24:], uint64(m.built.Unix()))
	le.PutUint32(b[32:], uint32(m.built.Nanosecond()))
	le.PutUint32(b[36:], m.blocks)
	_, err := out.WriteAt(b[:], superOffset)
	return err
}

// appendDirectory appends the blocks of a directory: in each first the entries,
// then their names.
func (m *Image) appendDirectory(b []byte, dir int32) []byte {
	le := binary.LittleEndian
	split(m.entries(dir), func(entries []entry, length int) {
		b = append(b, make([]byte, -len(b)&(block-1))...) // to the end of the block before
		name := len(entries) * direntLength
		for _, e := range entries {
			n := &m.inodes[e.node]
			kind := byte(kindFile)
			switch n.mode & modeType {
			case modeDirectory:
				kind = kindDirectory
			case modeSymlink:
				kind = kindSymlink
			}
			b = le.AppendUint64(b, uint64(n.at/slot))
			b = le.AppendUint16(b, uint16(name))
			b = append(b, kind, 0)
			name += len(e.name)
		}
		for _, e := range entries {
			b = append(b, e.name...)
		}
	})
	return b
}

// Contents writes files and symlinks, one after the other. Each goroutine has
// its own.
type Contents struct {
	image *Image
	out   io.WriterAt

	node  int
	done  int64       // bytes written of the node
	whole int64       // bytes of it that go to blocks
	at    int64       // where those are in the image
	tail  [block]byte // the inode, then what follows it
	inode *[inodeLength]byte
}

// Contents returns a writer of contents to out.
func (m *Image) Contents(out io.WriterAt) *Contents {
	c := &Contents{image: m, out: out}
	c.inode = (*[inodeLength]byte)(c.tail[:])
	return c
}

// Begin starts the content of the node with index i among those of [Plan], which
// is a file or a symlink.
func (c *Contents) Begin(i int) { c.begin(i + 1) }

func (c *Contents) begin(i int) {
	n := &c.image.inodes[i]
	c.node, c.done, c.whole, c.at = i, 0, n.size-int64(n.inline), int64(n.first)*block
}

// Write appends to the content.
func (c *Contents) Write(p []byte) (int, error) {
	n := &c.image.inodes[c.node]
	if int64(len(p)) > n.size-c.done {
		return 0, fmt.Errorf("write %q: more than the %d bytes that were planned", n.name, n.size)
	}
	length := len(p)
	if left := c.whole - c.done; left > 0 {
		body := p[:min(int64(len(p)), left)]
		if _, err := c.out.WriteAt(body, c.at+c.done); err != nil {
			return 0, err
		}
		c.done, p = c.done+int64(len(body)), p[len(body):]
	}
	if len(p) > 0 {
		copy(c.tail[inodeLength+c.done-c.whole:], p)
		c.done += int64(len(p))
	}
	return length, nil
}

// End completes the node. It fails when less was written than planned.
func (c *Contents) End() error {
	n := &c.image.inodes[c.node]
	if c.done != n.size {
		return fmt.Errorf("write %q: %d bytes of the %d that were planned", n.name, c.done, n.size)
	}
	n.encode(c.inode, uint32(c.node+1))
	_, err := c.out.WriteAt(c.tail[:inodeLength+n.inline], n.at)
	return err
}

// encode writes the inode. It belongs to root; number is what a 32-bit stat shows.
func (n *inode) encode(b *[inodeLength]byte, number uint32) {
	clear(b[:])
	layout, first := uint16(extended|layoutPlain), n.first
	if n.inline > 0 {
		layout = extended | layoutInline
	}
	if n.size == int64(n.inline) {
		first = noBlock
	}
	le := binary.LittleEndian
	le.PutUint16(b[0:], layout)
	le.PutUint16(b[4:], n.mode)
	le.PutUint64(b[8:], uint64(n.size))
	le.PutUint32(b[16:], first)
	le.PutUint32(b[20:], number)
	le.PutUint64(b[32:], uint64(n.modified.Unix()))
	le.PutUint32(b[40:], uint32(n.modified.Nanosecond()))
	le.PutUint32(b[44:], n.links)
}
