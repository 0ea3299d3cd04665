package wasi

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// maxOffset is the last offset in a file.
const maxOffset = math.MaxInt64

func (w *World) fdRead(m Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	switch {
	case err != nil:
		return err
	case d.kind == kindDir:
		return EISDIR
	case d.kind == kindStream:
		return w.readStream(m, d, a[1], a[2], a[3])
	}
	n, err := w.readFile(m, d, a[1], a[2], d.offset, a[3])
	d.offset += n
	return err
}

func (w *World) fdPread(m Memory, a []uint64) error {
	d, err := w.file(a[0], EISDIR)
	switch {
	case err != nil:
		return err
	case a[3] > maxOffset:
		return EINVAL
	}
	_, err = w.readFile(m, d, a[1], a[2], a[3], a[4])
	return err
}

// readStream fills the buffers unless stdin ends.
func (w *World) readStream(m Memory, d *descriptor, list, n, result uint64) error {
	if d.stdin == nil {
		return EBADF
	}
	count, err := view(m, result, 4)
	if err != nil {
		return err
	}
	buffers, room, err := w.vectors(m, list, n)
	if err != nil {
		return err
	}
	if err := w.charge(room * priceStreamByte); err != nil {
		return err
	}
	total := 0
	for _, b := range buffers {
		n, err := io.ReadFull(d.stdin, b)
		total += n
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(count, uint32(total))
	return nil
}

func (w *World) readFile(m Memory, d *descriptor, list, n, offset, result uint64) (uint64, error) {
	if !d.read {
		return 0, EBADF
	}
	count, err := view(m, result, 4)
	if err != nil {
		return 0, err
	}
	buffers, room, err := w.vectors(m, list, n)
	if err != nil {
		return 0, err
	}
	if offset < d.node.size {
		room = min(room, d.node.size-offset)
		if err := w.chargeCopy(room); err != nil {
			return 0, err
		}
	}
	total := uint64(0)
	for _, b := range buffers {
		n := d.node.read(b, offset+total)
		total += uint64(n)
		if n < len(b) {
			break
		}
	}
	binary.LittleEndian.PutUint32(count, uint32(total))
	return total, nil
}

func (w *World) fdWrite(m Memory, a []uint64) error {
	d, err := w.table.get(a[0])
	switch {
	case err != nil:
		return err
	case d.kind == kindStream:
		return w.writeStream(m, d, a[1], a[2], a[3])
	case d.kind == kindDir:
		return EBADF
	}
	offset := d.offset
	if d.flags&flagAppend != 0 {
		offset = d.node.size
	}
	n, err := w.writeFile(m, d, a[1], a[2], offset, a[3])
	if err == nil {
		d.offset = offset + n
	}
	return err
}

func (w *World) fdPwrite(m Memory, a []uint64) error {
	d, err := w.file(a[0], EBADF)
	switch {
	case err != nil:
		return err
	case a[3] > maxOffset:
		return EINVAL
	}
	_, err = w.writeFile(m, d, a[1], a[2], a[3], a[4])
	return err
}

func (w *World) writeStream(m Memory, d *descriptor, list, n, result uint64) error {
	if d.stdout == nil {
		return EBADF
	}
	count, err := view(m, result, 4)
	if err != nil {
		return err
	}
	buffers, total, err := w.vectors(m, list, n)
	if err != nil {
		return err
	}
	if err := w.charge(total * priceStreamByte); err != nil {
		return err
	}
	for _, b := range buffers {
		if _, err := d.stdout.Write(b); err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(count, uint32(total))
	return nil
}

func (w *World) writeFile(m Memory, d *descriptor, list, n, offset, result uint64) (uint64, error) {
	if !d.write {
		return 0, EBADF
	}
	count, err := view(m, result, 4)
	if err != nil {
		return 0, err
	}
	buffers, total, err := w.vectors(m, list, n)
	if err != nil {
		return 0, err
	}
	if total > maxOffset-offset {
		return 0, EFBIG
	}
	if total > 0 {
		if err := w.chargeCopy(total); err != nil {
			return 0, err
		}
		if err := w.chargeCopy(d.node.takes(offset, total)); err != nil {
			return 0, err
		}
		if err := w.grow(d.node, offset+total); err != nil {
			return 0, err
		}
	}
	at := offset
	for _, b := range buffers {
		d.node.write(b, at)
		at += uint64(len(b))
	}
	binary.LittleEndian.PutUint32(count, uint32(total))
	return total, nil
}

// grow gives a file a size of at least size, the rest a hole.
func (w *World) grow(n *node, size uint64) error {
	if size <= n.size {
		return nil
	}
	return w.resize(n, size)
}

// resize gives a file that may be written another size.
func (w *World) resize(n *node, size uint64) error {
	difference := max(size, n.size) - min(size, n.size)
	if size > n.size {
		if err := w.tree().room(difference, 0); err != nil {
			return err
		}
	}
	if err := w.charge(difference / bytesPerHoleGas); err != nil {
		return err
	}
	if size < n.size {
		if err := w.chargeCopy(uint64(n.leaves(size))); err != nil {
			return err
		}
	}
	w.tree().bytes += size - n.size // wraps around when it shrinks, as it should
	n.resize(size)
	return nil
}

func (w *World) fdSeek(m Memory, a []uint64) error {
	d, err := w.file(a[0], EISDIR)
	if err != nil {
		return err
	}
	from := uint64(0)
	switch uint32(a[2]) {
	case 0:
	case 1:
		from = d.offset
	case 2:
		from = d.node.size
	default:
		return EINVAL
	}
	offset := int64(from) + int64(a[1])
	if offset < 0 { // before the start, or more than there can be
		return EINVAL
	}
	if err := put64(m, a[3], uint64(offset)); err != nil {
		return err
	}
	d.offset = uint64(offset)
	return nil
}

func (w *World) fdTell(m Memory, a []uint64) error {
	d, err := w.file(a[0], EISDIR)
	if err != nil {
		return err
	}
	return put64(m, a[1], d.offset)
}

// fdAdvise takes advice on a file and needs none.
func (w *World) fdAdvise(_ Memory, a []uint64) error {
	const lastAdvice = 5
	d, err := w.table.get(a[0])
	switch {
	case err != nil:
		return err
	case d.kind == kindStream:
		return ESPIPE
	case uint32(a[3]) > lastAdvice:
		return EINVAL
	}
	return nil
}

func (w *World) fdAllocate(_ Memory, a []uint64) error {
	d, err := w.file(a[0], EBADF)
	switch {
	case err != nil:
		return err
	case !d.write:
		return EBADF
	case a[1] > maxOffset || a[2] > maxOffset || a[2] == 0:
		return EINVAL
	case a[2] > maxOffset-a[1]:
		return EFBIG
	}
	return w.grow(d.node, a[1]+a[2])
}

func (w *World) fdFilestatSetSize(_ Memory, a []uint64) error {
	d, err := w.file(a[0], EBADF)
	switch {
	case err != nil:
		return err
	case !d.write || a[1] > maxOffset:
		return EINVAL
	}
	return w.resize(d.node, a[1])
}
