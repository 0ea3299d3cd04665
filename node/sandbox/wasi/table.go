package wasi

import "io"

// maxOpen is how many descriptors a guest may have.
const maxOpen = 1024

// descriptor is what a guest's descriptor stands for: one end of a standard
// stream, or an open file or directory.
type descriptor struct {
	kind   kind
	flags  uint16
	stdin  io.Reader // of a stream that is read
	stdout io.Writer // of a stream that is written

	node        *node // of a file or directory; nil in a preopen before its first use
	preopen     bool
	read, write bool   // what a file was opened for
	offset      uint64 // in a file
	listing     []dirent
}

// table holds a guest's descriptors by number, nil where none is open.
type table struct {
	list  []*descriptor
	first [4]descriptor // the ones a guest starts with
}

// reset opens the standard streams and the root.
func (t *table) reset(c *Config) {
	clear(t.list)
	t.first = [4]descriptor{
		{kind: kindStream, stdin: c.Stdin},
		{kind: kindStream, stdout: c.Stdout},
		{kind: kindStream, stdout: c.Stderr},
		{kind: kindDir, preopen: true},
	}
	t.list = t.list[:0]
	for i := range t.first {
		t.list = append(t.list, &t.first[i])
	}
}

// get returns the descriptor fd, or [EBADF].
func (t *table) get(fd uint64) (*descriptor, error) {
	i := uint32(fd)
	if uint64(i) >= uint64(len(t.list)) || t.list[i] == nil {
		return nil, EBADF
	}
	return t.list[i], nil
}

// free returns the lowest number that is not in use, or [EMFILE].
func (t *table) free() (uint32, error) {
	for i, d := range t.list {
		if d == nil {
			return uint32(i), nil
		}
	}
	if len(t.list) >= maxOpen {
		return 0, EMFILE
	}
	return uint32(len(t.list)), nil
}

// set makes fd, which is open or free, stand for d.
func (t *table) set(fd uint32, d *descriptor) {
	if int(fd) == len(t.list) {
		t.list = append(t.list, nil)
	}
	t.list[fd] = d
}

// tree is the file system, made when it is first looked at.
func (w *World) tree() *tree {
	if w.files == nil {
		w.files = newTree(&w.config)
	}
	return w.files
}

// directory returns the directory that fd stands for.
func (w *World) directory(fd uint64) (*node, error) {
	d, err := w.table.get(fd)
	switch {
	case err != nil:
		return nil, err
	case d.kind != kindDir:
		return nil, ENOTDIR
	}
	return w.node(d), nil
}

// node returns what the descriptor of a file or directory stands for.
func (w *World) node(d *descriptor) *node {
	if d.node == nil {
		d.node = w.tree().root
		d.node.open++
	}
	return d.node
}

// file returns a descriptor that stands for a file: a stream fails with
// ESPIPE, a directory with dir.
func (w *World) file(fd uint64, dir Errno) (*descriptor, error) {
	d, err := w.table.get(fd)
	switch {
	case err != nil:
		return nil, err
	case d.kind == kindStream:
		return nil, ESPIPE
	case d.kind == kindDir:
		return nil, dir
	}
	return d, nil
}

// close ends what d stands for.
func (w *World) close(d *descriptor) {
	if d.node == nil {
		return
	}
	w.unlist(d)
	d.node.open--
	w.tree().release(d.node)
}

func (w *World) fdClose(_ Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	if err != nil {
		return err
	}
	w.close(d)
	w.table.set(uint32(a[0]), nil)
	return nil
}

// fdRenumber makes a[1], which must be open, stand for what a[0] does, and
// closes a[0].
func (w *World) fdRenumber(_ Memory, a []uint64) error {
	from, err := w.table.get(a[0])
	if err != nil {
		return err
	}
	to, err := w.table.get(a[1])
	if err != nil {
		return err
	}
	if from == to {
		return nil
	}
	w.close(to)
	w.table.set(uint32(a[1]), from)
	w.table.set(uint32(a[0]), nil)
	return nil
}

// fdSync is fd_sync and fd_datasync: memory is all there is.
func (w *World) fdSync(_ Memory, a []uint64) error {
	_, err := w.table.get(a[0])
	return err
}

// prestatSize is the size of what fd_prestat_get writes, and preopenName the
// name of the one directory that a guest is given.
const (
	prestatSize = 8
	preopenName = "/"
)

func (w *World) preopened(fd uint64) error {
	d, err := w.table.get(fd)
	if err == nil && !d.preopen {
		return EBADF
	}
	return err
}

func (w *World) fdPrestatGet(m Memory, a []uint64) error {
	if err := w.preopened(a[0]); err != nil {
		return err
	}
	b, err := view(m, a[1], prestatSize)
	if err != nil {
		return err
	}
	clear(b)
	b[4] = byte(len(preopenName)) // tag 0: a directory
	return nil
}

func (w *World) fdPrestatDirName(m Memory, a []uint64) error {
	if err := w.preopened(a[0]); err != nil {
		return err
	}
	n := uint64(uint32(a[2]))
	if n < uint64(len(preopenName)) {
		return ENAMETOOLONG
	}
	b, err := view(m, a[1], uint64(len(preopenName)))
	if err == nil {
		copy(b, preopenName)
	}
	return err
}
