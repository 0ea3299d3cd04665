package meter

import (
	"math"
	"slices"
)

// What a run is bounded by, so that its two forms stay small beside the rest.
const (
	runLeast = 3  // stores, or it is not worth it
	runMost  = 16 // stores: what compiled code keeps for each of them adds up
	runBytes = 64 // for each store
	runBases = 8

	// mostTested bounds the stores of a function that branch, in runs and
	// elsewhere: what takes less time when it runs takes more to compile.
	mostTested = 256
)

// run is straight code with several stores of f64 that arithmetic has just
// made. It is written twice. In the fast form the stores leave NaNs as they are,
// and one test at the end finds whether there was any, and has them made
// canonical in memory. Nobody may see them before: from the first of these
// stores on, a run touches memory only by them and by loads of f64, and all of
// these addresses are divisible by 8, so that a load gets all of such a NaN or
// nothing of it. What it loads may go to arithmetic only, which does not look at
// the bits. Whether the addresses are divisible is looked up before the run; if
// not, it takes the slow form, in which each store is tested.
//
// Addresses are locals, which are not set between the run's start and its end,
// plus constants: so they are known at both. A trap in a run leaves NaNs in
// memory that are not canonical; the memory of a guest that trapped is lost.
type run struct {
	start, end  int // in the code
	first, last int // the edits between
	stores      []store
	bases       []uint32 // locals
	off         bool
}

// store is an f64.store that leaves NaNs as they are.
type store struct {
	at      int // its opcode
	address address
}

// runs finds the runs of a function.
type runs struct {
	list   []run
	sets   []uint32  // of each local: where it was last set
	copies []address // of each local: what it was set to there
	label  int       // where the straight code began
	anchor int       // where the next run may start, or -1
	before int       // how many edits there were at the anchor
	tested int       // stores that branch
	past   int       // where those that do not begin, if there are any
	open   bool      // the last of list is not complete
	ended  int       // how many of its stores are before its end
}

func (r *runs) start(locals, code int) {
	r.list = r.list[:0]
	r.sets = append(r.sets[:0], make([]uint32, locals)...)
	r.copies = append(r.copies[:0], make([]address, locals)...)
	r.label, r.anchor, r.open, r.ended = code, -1, false, 0
	r.tested, r.past = 0, math.MaxInt
}

// between notes that an instruction starts at a place without operands, where a
// run may start or end.
func (r *runs) between(at, edits int) {
	if !r.open {
		r.anchor, r.before = at, edits
		return
	}
	if top := &r.list[len(r.list)-1]; len(top.stores) > r.ended {
		top.end, top.last = at, edits
		if r.ended = len(top.stores); r.ended >= runMost {
			r.close()
		}
	}
}

// close ends the open run, if there is any, where it last could.
func (r *runs) close() {
	if !r.open {
		return
	}
	top := &r.list[len(r.list)-1]
	top.stores = top.stores[:r.ended]
	top.off = r.ended < runLeast || top.end-top.start > runBytes*r.ended
	if r.ended > 0 {
		r.anchor, r.before = top.end, top.last
	}
	r.open, r.ended = false, 0
}

// interrupt ends straight code. More begins at.
func (r *runs) interrupt(at int) {
	r.close()
	r.label, r.anchor = at, -1
}

// get returns what is known of a local that is read.
func (r *runs) get(x uint32) address {
	c := r.copies[x]
	if int(r.sets[x]) >= r.label && (c.base == baseConstant || c.base == baseLocal && r.sets[c.local] == c.set) {
		return c
	}
	return address{base: baseLocal, local: x, set: r.sets[x]}
}

// set notes that the instruction at sets a local.
func (r *runs) set(x uint32, at int, a address) {
	if r.open && slices.Contains(r.list[len(r.list)-1].bases, x) {
		r.close()
	}
	r.sets[x], r.copies[x] = uint32(at), a
}

// takes tells whether the open run may access an address, and has it looked up.
func (r *runs) takes(a address, offset uint32) bool {
	top := &r.list[len(r.list)-1]
	switch {
	case a.base == baseUnknown || (a.plus+offset)%8 != 0:
		return false
	case a.base == baseConstant || slices.Contains(top.bases, a.local) && r.sets[a.local] == a.set:
		return true
	case r.sets[a.local] != a.set || int(a.set) >= top.start || len(top.bases) == runBases:
		return false
	}
	top.bases = append(top.bases, a.local)
	return true
}

// access notes an instruction at, which reads or writes memory. If what it
// loads may be a NaN that is not canonical, it returns its producer.
func (f *body) access(o *op, at int, a address, offset uint32, stored producer) producer {
	r := &f.runs
	if f.gas.dead {
		return mixed
	}
	made := o == &plain[opF64Store] && stored > mixed && int(f.edits[stored].at) == at
	switch {
	case made && r.tested == mostTested:
		r.past, made = min(r.past, at), false
	case made:
		r.tested++
		f.detour()
	}
	fresh := made && f.edits[stored].kind == editCanon
	if fresh && !r.open && r.anchor >= 0 {
		r.open = true
		r.list = append(r.list, run{start: r.anchor, first: r.before})
	}
	switch {
	case !r.open:
	case fresh && len(r.list[len(r.list)-1].stores) < runMost && r.takes(a, offset):
		top := &r.list[len(r.list)-1]
		top.stores = append(top.stores, store{at, a})
	case o == &plain[opF64Load] && r.takes(a, offset):
		return producer(f.edit(edit{at: uint32(f.at), kind: editLoad, shape: shapeF64, arg: uint32(len(r.list) - 1)}))
	default:
		r.close()
	}
	return mixed
}

// resolve drops the runs that load bits which may be seen.
func (r *runs) resolve(edits []edit) {
	for i := range edits {
		if e := &edits[i]; e.kind == editLoad && e.on {
			r.list[e.arg].off = true
		}
	}
}

// run writes a run in both forms.
func (w *injector) run(r *run) {
	edits := w.edits[r.first:r.last]
	for i, x := range r.bases {
		w.index(opLocalGet, x)
		if i > 0 {
			w.out = append(w.out, opI32Or)
		}
	}
	if len(r.bases) > 0 {
		w.out = append(w.out, opI32Const, 7, opI32And, opI32Eqz, opIf, blockEmpty)
	}
	w.copy(r.start, r.end, edits, r.stores)
	w.sweep(r.stores)
	if len(r.bases) > 0 {
		w.out = append(w.out, opElse)
		w.copy(r.start, r.end, edits, nil)
		w.out = append(w.out, opEnd)
	}
}

// addUp adds the number on top of the stack, the nth that a run stores, to a
// total of these, which is NaN if one of them is. The number stays there. There
// are two totals because the sums wait for each other.
func (w *injector) addUp(n int) {
	total := w.totals[n%2]
	if n < 2 {
		w.index(opLocalTee, total)
		return
	}
	number := w.canon[shapeF64]
	w.index(opLocalTee, number)
	w.index(opLocalGet, total)
	w.index(opLocalGet, number)
	w.out = append(w.out, opF64Add)
	w.index(opLocalSet, total)
}

// sweep makes what was stored canonical in memory if a total is NaN. That is the
// body of a loop, to be left at once otherwise, so that compiled code has it out
// of the way.
func (w *injector) sweep(stores []store) {
	total, other := w.totals[0], w.totals[1]
	w.index(opLocalGet, total)
	w.index(opLocalGet, other)
	w.out = append(w.out, opF64Add)
	w.index(opLocalSet, total)
	w.out = append(w.out, opBlock, blockEmpty, opLoop, blockEmpty)
	w.index(opLocalGet, total)
	w.index(opLocalGet, total)
	w.out = append(w.out, opF64Ge, opBrIf, 1)
	for _, s := range stores {
		operands := w.operands(s.at)
		w.locate(s.address)
		w.locate(s.address)
		w.out = append(append(w.out, opF64Load), operands...)
		w.canonicalise(shapeF64)
		w.out = append(append(w.out, opF64Store), operands...)
	}
	w.out = append(w.out, opF64Const, 0, 0, 0, 0, 0, 0, 0, 0)
	w.index(opLocalSet, total)
	w.out = append(w.out, opBr, 0, opEnd, opEnd)
}

// locate pushes an address. It adds a constant in any case: the compiler would
// otherwise keep the address from the store on, in a register that is needed.
func (w *injector) locate(a address) {
	w.out = appendSigned(append(w.out, opI32Const), int64(int32(a.plus)))
	if a.base == baseLocal {
		w.index(opLocalGet, a.local)
		w.out = append(w.out, opI32Add)
	}
}

// operands returns the alignment and offset of the load or store at.
func (w *injector) operands(at int) []byte {
	c := cursor{b: w.b, at: at + 1}
	c.u32()
	c.u32()
	return w.b[at+1 : c.at]
}
