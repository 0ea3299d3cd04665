package wasi

import "math/rand/v2"

func (w *World) procExit(_ Memory, a []uint64) error {
	return &Exit{Code: uint32(a[0])}
}

// procRaise refuses: there are no signals.
func (w *World) procRaise(Memory, []uint64) error { return ENOTSUP }

func (w *World) schedYield(Memory, []uint64) error { return nil }

// sock is each of the functions on sockets, of which there are none.
func (w *World) sock(_ Memory, a []uint64) error {
	if _, err := w.table.get(a[0]); err != nil {
		return err
	}
	return ENOTSOCK
}

func (w *World) randomGet(m Memory, a []uint64) error {
	n := uint64(uint32(a[1]))
	b, err := view(m, a[0], n)
	if err != nil {
		return err
	}
	if err := w.charge(n * priceRandomByte); err != nil {
		return err
	}
	switch {
	case w.random == nil:
		w.random = rand.NewChaCha8(w.config.Seed)
	case !w.seeded:
		w.random.Seed(w.config.Seed)
	}
	w.seeded = true
	_, err = w.random.Read(b)
	return err
}
