package wasi

import "encoding/binary"

func (w *World) argsSizesGet(m Memory, a []uint64) error {
	return stringSizes(m, w.config.Args, w.argsSize, a[0], a[1])
}

func (w *World) argsGet(m Memory, a []uint64) error {
	return w.putStrings(m, w.config.Args, w.argsSize, a[0], a[1])
}

func (w *World) environSizesGet(m Memory, a []uint64) error {
	return stringSizes(m, w.config.Env, w.envSize, a[0], a[1])
}

func (w *World) environGet(m Memory, a []uint64) error {
	return w.putStrings(m, w.config.Env, w.envSize, a[0], a[1])
}

// stringSizes writes how many strings the list has, and its textSize.
func stringSizes(m Memory, list []string, text, count, size uint64) error {
	if err := put32(m, count, uint32(len(list))); err != nil {
		return err
	}
	return put32(m, size, uint32(text))
}

// textSize is how many bytes the list takes, with a zero after each string.
func textSize(list []string) uint64 {
	n := uint64(0)
	for _, s := range list {
		n += uint64(len(s)) + 1
	}
	return n
}

// putStrings writes the strings of list, of the given textSize, to text, a zero after each, and the
// address of each to pointers.
func (w *World) putStrings(m Memory, list []string, size, pointers, text uint64) error {
	if err := w.charge(uint64(len(list))*priceString + size/bytesPerGas); err != nil {
		return err
	}
	addresses, err := view(m, pointers, 4*uint64(len(list)))
	if err != nil {
		return err
	}
	b, err := view(m, text, size)
	if err != nil {
		return err
	}
	at := uint32(text)
	for i, s := range list {
		binary.LittleEndian.PutUint32(addresses[4*i:], at)
		n := copy(b, s)
		b[n] = 0
		b = b[n+1:]
		at += uint32(n) + 1
	}
	return nil
}
