package wasi

import "encoding/binary"

// Rights, which are shown and not kept track of. A directory's files inherit
// all; a stream cannot seek, by which wasi-libc tells a terminal, together with
// the type of the descriptor.
const (
	rightsStream = 1<<1 | 1<<3 | 1<<6 | 1<<21 | 1<<27
	rightsFile   = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<21 | 1<<22 | 1<<23 | 1<<27
	rightsDir    = 1<<0 | 1<<3 | 1<<4 | 1<<9 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<17 |
		1<<18 | 1<<19 | 1<<20 | 1<<21 | 1<<23 | 1<<24 | 1<<25 | 1<<26
)

const (
	fdstatSize   = 24
	filestatSize = 64
)

func (w *World) fdFdstatGet(m Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	if err != nil {
		return err
	}
	b, err := view(m, a[1], fdstatSize)
	if err != nil {
		return err
	}
	clear(b)
	b[0] = byte(d.kind)
	binary.LittleEndian.PutUint16(b[2:], d.flags)
	rights, inherited := uint64(rightsStream), uint64(0)
	switch d.kind {
	case kindDir:
		rights, inherited = rightsDir, rightsDir|rightsFile
	case kindFile:
		rights = rightsFile
	}
	binary.LittleEndian.PutUint64(b[8:], rights)
	binary.LittleEndian.PutUint64(b[16:], inherited)
	return nil
}

func (w *World) fdFdstatSetFlags(_ Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	if err != nil {
		return err
	}
	if uint32(a[1]) > descriptorFlags {
		return EINVAL
	}
	d.flags = uint16(a[1])
	return nil
}

// fdFdstatSetRights refuses: rights left WASI after preview 1, and nothing
// relies on them.
func (w *World) fdFdstatSetRights(_ Memory, a []uint64) error {
	if _, err := w.table.get(a[0]); err != nil {
		return err
	}
	return ENOTSUP
}

func (w *World) fdFilestatGet(m Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	if err != nil {
		return err
	}
	if d.kind == kindStream {
		clock := w.config.Clock
		return putFilestat(m, a[1], 0, &node{links: 1, accessed: clock, modified: clock, changed: clock})
	}
	return putFilestat(m, a[1], 1, w.node(d))
}

func (w *World) pathFilestatGet(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[2], a[3], a[1]&flagFollow != 0)
	switch {
	case err != nil:
		return err
	case at.node == nil:
		return ENOENT
	}
	return putFilestat(m, a[4], 1, at.node)
}

func putFilestat(m Memory, address, device uint64, n *node) error {
	b, err := view(m, address, filestatSize)
	if err != nil {
		return err
	}
	for i, v := range [...]uint64{
		device, n.number, uint64(n.kind), n.links, n.size + uint64(len(n.target)),
		uint64(n.accessed), uint64(n.modified), uint64(n.changed),
	} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return nil
}

func (w *World) fdFilestatSetTimes(_ Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	switch {
	case err != nil:
		return err
	case d.kind == kindStream:
		return ENOTSUP
	}
	return w.setTimes(w.node(d), a[1], a[2], a[3])
}

func (w *World) pathFilestatSetTimes(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[2], a[3], a[1]&flagFollow != 0)
	switch {
	case err != nil:
		return err
	case at.node == nil:
		return ENOENT
	}
	return w.setTimes(at.node, a[4], a[5], a[6])
}

// setTimes sets the times of n that flags name.
func (w *World) setTimes(n *node, accessed, modified, flags uint64) error {
	const (
		setAccessed    = 1 << 0
		setAccessedNow = 1 << 1
		setModified    = 1 << 2
		setModifiedNow = 1 << 3
		all            = 1<<4 - 1
	)
	f := uint32(flags)
	both := func(a, b uint32) bool { return f&a != 0 && f&b != 0 }
	if f > all || both(setAccessed, setAccessedNow) || both(setModified, setModifiedNow) {
		return EINVAL
	}
	if n.readOnly {
		return EROFS
	}
	switch {
	case f&setAccessed != 0:
		n.accessed = int64(accessed)
	case f&setAccessedNow != 0:
		n.accessed = w.now()
	}
	switch {
	case f&setModified != 0:
		n.modified = int64(modified)
	case f&setModifiedNow != 0:
		n.modified = w.now()
	}
	return nil
}
