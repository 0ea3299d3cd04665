package wasi

// Flags of path_open and of descriptors, and the rights that say how a file is
// to be opened.
const (
	openCreate    = 1 << 0
	openDirectory = 1 << 1
	openExclusive = 1 << 2
	openTruncate  = 1 << 3
	openFlags     = 1<<4 - 1

	flagAppend = 1 << 0
	// The others, for synchronous and non-blocking use, are kept and shown but
	// change nothing: memory is always in step and always ready.
	descriptorFlags = 1<<5 - 1

	rightRead  = 1 << 1
	rightWrite = 1 << 6
)

func (w *World) pathOpen(m Memory, a []uint64) error {
	lookup, how, rights, flags := uint32(a[1]), uint32(a[4]), a[5], uint32(a[7])
	if how > openFlags || flags > descriptorFlags || how&openCreate != 0 && how&openDirectory != 0 {
		return EINVAL
	}
	exclusive := how&openCreate != 0 && how&openExclusive != 0
	at, err := w.path(m, a[0], a[2], a[3], lookup&flagFollow != 0 && !exclusive)
	if err != nil {
		return err
	}
	d := &descriptor{flags: uint16(flags), read: rights&rightRead != 0, write: rights&rightWrite != 0}
	if !d.write {
		d.read = true // asking for neither is how old programs open for reading
	}
	if err := openable(&at, how, d.write); err != nil {
		return err
	}
	fd, err := w.table.free()
	if err != nil {
		return err
	}
	if _, err := view(m, a[8], 4); err != nil {
		return err
	}
	if at.node == nil {
		at.node, err = w.create(&at, kindFile, 0)
	} else {
		err = w.charge(priceFile)
	}
	if err != nil {
		return err
	}
	if how&openTruncate != 0 && at.node.size > 0 {
		if err := w.resize(at.node, 0); err != nil {
			return err
		}
	}
	d.kind, d.node = at.node.kind, at.node
	d.node.open++
	w.table.set(fd, d)
	return put32(m, a[8], fd)
}

// openable fails unless what is at may be opened in the way told.
func openable(at *place, how uint32, write bool) error {
	create, truncate := how&openCreate != 0, how&openTruncate != 0
	switch {
	case at.node == nil && !create:
		return ENOENT
	case at.node == nil && at.slash:
		return EISDIR
	case at.node == nil:
		return nil
	case create && how&openExclusive != 0:
		return EEXIST
	case at.node.kind == kindSymlink:
		return ELOOP
	case at.node.kind == kindDir && how&openDirectory != 0:
		if truncate {
			return EISDIR
		}
	case at.node.kind == kindDir:
		if create || truncate || write {
			return EISDIR
		}
	case how&openDirectory != 0:
		return ENOTDIR
	case at.node.readOnly && (write || truncate):
		return EROFS
	}
	return nil
}
