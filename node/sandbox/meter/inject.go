package meter

import "encoding/binary"

const blockEmpty = 0x40

// injector writes one function with its edits. Locals and globals are the
// indices of those added behind the function's and the module's own.
type injector struct {
	*body
	out []byte

	gasLocal, depthLocal, lengthLocal, address uint32
	canon                                      [shapeF64x2 + 1]uint32 // locals for NaNs of each shape
	totals                                     [2]uint32              // of what a run stores
	gasGlobal, depthGlobal                     uint32

	depthCost int64 // 0 if the function calls nothing
	flat      bool  // the only charge is the first, for which the global alone will do
	wrap      bool  // branches to the function's end must not pass by what is injected there
}

// write appends the function, with its size, to out.
func (f *body) write(out []byte) []byte {
	g := &f.gas
	w := injector{
		body: f, out: f.buffer[:0],
		gasGlobal: uint32(len(f.m.globals)), depthGlobal: uint32(len(f.m.globals) + 1),
		flat: g.charges == 0 && g.loops == 0 && !g.calls && !g.bulk,
	}
	w.wrap = g.targeted && !w.flat
	if g.calls {
		w.depthCost = f.depth.cost()
	}
	w.declare()
	w.instructions()
	f.buffer = w.out
	out = binary.AppendUvarint(out, uint64(len(w.out)))
	return append(out, w.out...)
}

// declare writes the declarations of locals.
func (w *injector) declare() {
	var used [len(w.canon)]bool
	for i := range w.edits {
		used[w.canonical(&w.edits[i])] = true
	}
	runs := false
	for i := range w.runs.list {
		runs = runs || !w.runs.list[i].off
	}
	next, groups := uint32(len(w.kinds)), 0
	var added []byte
	add := func(wanted bool, kind byte) uint32 {
		if !wanted {
			return 0
		}
		added = append(added, 1, kind)
		groups++
		next++
		return next - 1
	}
	w.gasLocal = add(!w.flat, typeI64)
	w.depthLocal = add(w.gas.calls, typeI64)
	w.lengthLocal = add(w.gas.bulk, typeI32)
	w.canon[shapeF32] = add(used[shapeF32], typeF32)
	w.canon[shapeF64] = add(used[shapeF64], typeF64)
	w.address = add(used[shapeF64], typeI32)
	w.totals = [...]uint32{add(runs, typeF64), add(runs, typeF64)}
	w.canon[shapeF32x4] = add(used[shapeF32x4] || used[shapeF64x2], typeV128)
	w.canon[shapeF64x2] = w.canon[shapeF32x4]

	head := cursor{b: w.b}
	head.u32()
	w.out = binary.AppendUvarint(w.out, uint64(w.groups+groups))
	w.out = append(append(w.out, w.b[head.at:w.code]...), added...)
}

// canonical returns the shape in which e makes NaNs canonical, or shapeNone.
func (w *injector) canonical(e *edit) shape {
	switch {
	case !e.on:
		return shapeNone
	case e.kind == editCanon:
		return e.shape
	case e.kind == editGet:
		if s := w.nan.merges[w.nan.group(int32(e.arg))].shape; s != shapeMixed {
			return s
		}
	}
	return shapeNone
}

func (w *injector) instructions() {
	at, edits := w.code, 0
	for i := range w.runs.list {
		if r := &w.runs.list[i]; !r.off {
			w.copy(at, r.start, w.edits[edits:r.first], nil)
			w.run(r)
			at, edits = r.end, r.last
		}
	}
	w.copy(at, len(w.b), w.edits[edits:], nil)
}

// copy writes a part of the code with its edits. The stores of fast leave NaNs
// as they are.
func (w *injector) copy(at, end int, edits []edit, fast []store) {
	stored := 0
	for i := range edits {
		e := &edits[i]
		w.out = append(w.out, w.b[at:e.at]...)
		at = int(e.at)
		switch e.kind {
		case editEntry:
			w.entry(e.arg)
		case editCharge:
			w.charge(e.arg)
		case editLoop:
			w.loop(e.arg)
		case editFlush:
			if !w.flat {
				w.flush()
			}
		case editReload:
			w.index(opGlobalGet, w.gasGlobal)
			w.index(opLocalSet, w.gasLocal)
		case editReturn:
			w.exit(e.on)
		case editExit:
			if w.wrap {
				w.out = append(w.out, opEnd)
			}
			w.exit(e.on)
		case editBulk:
			w.bulk(e)
		case editCanon, editGet:
			switch s := w.canonical(e); {
			case stored < len(fast) && fast[stored].at == at:
				w.addUp(stored)
				stored++
			case s == shapeF64 && w.b[at] == opF64Store && at < w.runs.past:
				at = w.storeTwice(at)
			default:
				w.canonicalise(s)
			}
		}
	}
	w.out = append(w.out, w.b[at:end]...)
}

func (w *injector) index(op byte, x uint32) {
	w.out = binary.AppendUvarint(append(w.out, op), uint64(x))
}

func (w *injector) i64(v int64) { w.out = appendSigned(append(w.out, opI64Const), v) }

func (w *injector) entry(cost uint32) {
	if w.flat {
		w.flatEntry(cost)
		return
	}
	if w.depthCost > 0 {
		w.index(opGlobalGet, w.depthGlobal)
		w.i64(w.depthCost)
		w.out = append(w.out, opI64Sub)
		w.index(opLocalTee, w.depthLocal)
		w.index(opGlobalSet, w.depthGlobal)
	}
	w.index(opGlobalGet, w.gasGlobal)
	if cost > 0 {
		w.i64(int64(cost))
		w.out = append(w.out, opI64Sub)
	}
	switch {
	case w.depthCost > 0: // both are checked at once
		w.index(opLocalTee, w.gasLocal)
		w.index(opLocalGet, w.depthLocal)
		w.out = append(w.out, opI64Or)
		w.check()
	case uint64(cost)+w.gas.charges > unchecked:
		w.index(opLocalTee, w.gasLocal)
		w.check()
	default:
		w.index(opLocalSet, w.gasLocal)
	}
	if w.wrap {
		w.out = append(w.out, opBlock)
		w.out = append(w.out, w.m.resultBlock(w.sign.results)...)
	}
}

// flatEntry charges in the global itself.
func (w *injector) flatEntry(cost uint32) {
	if cost == 0 {
		return
	}
	w.index(opGlobalGet, w.gasGlobal)
	w.i64(int64(cost))
	w.out = append(w.out, opI64Sub)
	w.index(opGlobalSet, w.gasGlobal)
	if cost <= unchecked {
		return
	}
	w.index(opGlobalGet, w.gasGlobal)
	w.i64(0)
	w.out = append(w.out, opI64LtS, opIf, blockEmpty, opUnreachable, opEnd)
}

// check ends the guest if the i64 on top of the stack is negative.
func (w *injector) check() {
	w.i64(0)
	w.out = append(w.out, opI64LtS, opIf, blockEmpty)
	w.flush()
	w.out = append(w.out, opUnreachable, opEnd)
}

func (w *injector) flush() {
	w.index(opLocalGet, w.gasLocal)
	w.index(opGlobalSet, w.gasGlobal)
}

func (w *injector) charge(cost uint32) {
	if cost == 0 {
		return
	}
	w.take(cost)
	w.index(opLocalSet, w.gasLocal)
}

// loop charges at a loop's head and ends the guest if it cannot pay. What is
// left is in the global then, where others see how far the guest has come: a
// store costs less than a branch that would spare most of them.
func (w *injector) loop(cost uint32) {
	w.take(cost)
	w.index(opLocalTee, w.gasLocal)
	w.index(opGlobalSet, w.gasGlobal)
	w.index(opLocalGet, w.gasLocal)
	w.i64(0)
	w.out = append(w.out, opI64LtS, opIf, blockEmpty, opUnreachable, opEnd)
}

// take pushes what is left after a charge.
func (w *injector) take(cost uint32) {
	w.index(opLocalGet, w.gasLocal)
	if cost > 0 {
		w.i64(int64(cost))
		w.out = append(w.out, opI64Sub)
	}
}

// exit gives back the units of stack, and the gas that is left unless that is
// in its global.
func (w *injector) exit(flushed bool) {
	if !flushed && !w.flat {
		w.flush()
	}
	if w.depthCost > 0 {
		w.index(opGlobalGet, w.depthGlobal)
		w.i64(w.depthCost)
		w.out = append(w.out, opI64Add)
		w.index(opGlobalSet, w.depthGlobal)
	}
}

// bulk charges for the length on top of the stack, or for none if the
// operation fails because that is beyond its limit.
func (w *injector) bulk(e *edit) {
	w.index(opLocalSet, w.lengthLocal)
	w.index(opLocalGet, w.gasLocal)
	w.index(opLocalGet, w.lengthLocal)
	if e.arg != noLimit {
		w.out = append(w.out, opI32Const, 0)
		w.index(opLocalGet, w.lengthLocal)
		w.out = appendSigned(append(w.out, opI32Const), int64(int32(e.arg)))
		w.out = append(w.out, opI32LeU, opSelect)
	}
	w.out = append(w.out, opI64ExtendU)
	switch e.unit {
	case bulkBytes:
		w.i64(bytesPerGasLog)
		w.out = append(w.out, opI64ShrU)
	case bulkPages:
		w.i64(gasPerPageLog)
		w.out = append(w.out, opI64Shl)
	}
	w.out = append(w.out, opI64Sub)
	w.index(opLocalTee, w.gasLocal)
	w.check()
	w.index(opLocalGet, w.lengthLocal)
}

// canonicalise makes the value on top of the stack canonical where it is NaN.
// It compares with ge because compiled code decides that with one flag, and eq
// with two.
func (w *injector) canonicalise(s shape) {
	if s == shapeNone {
		return
	}
	x := w.canon[s]
	w.index(opLocalTee, x)
	switch s {
	case shapeF32:
		w.out = append(w.out, opF32Const, 0, 0, 0xc0, 0x7f)
	case shapeF64:
		w.out = append(w.out, opF64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
	case shapeF32x4:
		w.out = append(w.out, opVector, vectorConst, 0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f)
	case shapeF64x2:
		w.out = append(w.out, opVector, vectorConst, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
	}
	w.index(opLocalGet, x)
	w.index(opLocalGet, x)
	switch s {
	case shapeF32:
		w.out = append(w.out, opF32Ge, opSelect)
	case shapeF64:
		w.out = append(w.out, opF64Ge, opSelect)
	case shapeF32x4:
		w.out = append(w.out, opVector, vectorF32x4Ge, opVector, vectorBitselect)
	case shapeF64x2:
		w.out = append(w.out, opVector, vectorF64x2Ge, opVector, vectorBitselect)
	}
}

// storeTwice writes the f64.store at, which stores a NaN again as the canonical
// one: that takes less than to choose between the two before. It returns where
// the store ends.
func (w *injector) storeTwice(at int) int {
	operands := w.operands(at)
	store := w.b[at : at+1+len(operands)]
	number := w.canon[shapeF64]
	w.index(opLocalSet, number)
	w.index(opLocalTee, w.address)
	w.index(opLocalGet, number)
	w.out = append(w.out, store...)
	w.index(opLocalGet, number)
	w.index(opLocalGet, number)
	w.out = append(w.out, opF64Ge, opIf, blockEmpty, opElse)
	w.index(opLocalGet, w.address)
	w.out = append(w.out, opF64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
	w.out = append(append(w.out, store...), opEnd)
	return at + len(store)
}

// resultBlock encodes the type of a block with the given results, for which it
// adds a function type if need be.
func (m *module) resultBlock(results []byte) []byte {
	switch len(results) {
	case 0:
		return []byte{blockEmpty}
	case 1:
		return results
	}
	x, ok := m.blocks[string(results)]
	if !ok {
		if m.blocks == nil {
			m.blocks = make(map[string]uint32)
		}
		x = uint32(len(m.types) + len(m.blocks))
		m.blocks[string(results)] = x
		m.added = binary.AppendUvarint(append(m.added, 0x60, 0), uint64(len(results)))
		m.added = append(m.added, results...)
	}
	return appendSigned(nil, int64(x))
}
