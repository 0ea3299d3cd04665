package wasi

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// direntSize is the size of an entry without its name.
const direntSize = 24

// dirent is an entry of a directory as it was when it was listed.
type dirent struct {
	name   string
	number uint64
	kind   kind
}

// fdReaddir writes what fits of the entries from the cookie a[3] on, cutting
// the last. Cookies number the entries of the listing, which is made anew when
// it is read from its start.
func (w *World) fdReaddir(m Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	switch {
	case err != nil:
		return err
	case d.kind != kindDir:
		return EBADF // as POSIX has it; Rust's library cannot take ENOTDIR
	}
	room := uint64(uint32(a[2]))
	b, err := view(m, a[1], room)
	if err != nil {
		return err
	}
	used, err := view(m, a[4], 4)
	if err != nil {
		return err
	}
	if err := w.chargeCopy(room); err != nil {
		return err
	}
	if a[3] == 0 || d.listing == nil {
		if err := w.list(d); err != nil {
			return err
		}
	}
	if a[3] > uint64(len(d.listing)) {
		return ENOENT
	}
	rest := b
	for i, e := range d.listing[a[3]:] {
		var header [direntSize]byte
		binary.LittleEndian.PutUint64(header[0:], a[3]+uint64(i)+1)
		binary.LittleEndian.PutUint64(header[8:], e.number)
		binary.LittleEndian.PutUint32(header[16:], uint32(len(e.name)))
		header[20] = byte(e.kind)
		rest = rest[copy(rest, header[:]):]
		rest = rest[copy(rest, e.name):]
		if len(rest) == 0 {
			break
		}
	}
	binary.LittleEndian.PutUint32(used, uint32(len(b)-len(rest)))
	return nil
}

// list makes the listing of an open directory.
func (w *World) list(d *descriptor) error {
	t, n := w.tree(), w.node(d)
	w.unlist(d)
	entries := uint64(len(n.names)) + 2
	if t.listed+entries > 4*(t.maxEntries+maxOpen) {
		return ENOMEM
	}
	if err := w.charge(entries * priceEntry); err != nil {
		return err
	}
	parent := n
	if n.parent != nil {
		parent = n.parent
	}
	d.listing = make([]dirent, 0, entries)
	d.listing = append(d.listing, dirent{".", n.number, kindDir}, dirent{"..", parent.number, kindDir})
	for name, e := range n.names {
		d.listing = append(d.listing, dirent{name, e.number, e.kind})
	}
	slices.SortFunc(d.listing[2:], func(a, b dirent) int { return cmp.Compare(a.name, b.name) })
	t.listed += entries
	return nil
}

// unlist gives up the listing of an open directory.
func (w *World) unlist(d *descriptor) {
	if d.listing != nil {
		w.tree().listed -= uint64(len(d.listing))
		d.listing = nil
	}
}
