package meter

import (
	"encoding/binary"
	"math"
)

// producer tells where a value comes from: the index of the edit that would
// make it canonical, or one of these. In locals, what is less than clean is a
// merge.
type producer int32

const (
	clean producer = -1 // it is no NaN
	mixed producer = 0  // it may be a NaN whose bits must be kept, or is no float
)

// nan decides which results must be made canonical. Arithmetic leaves NaNs
// with bits that differ between processors. They are made canonical where they
// are produced, but only if something observes the bits: arithmetic itself and
// comparisons see no more than that a value is a NaN.
//
// Locals are followed along the control flow. Where several values of a local
// may arrive, a merge stands for them. A merge of nothing but arithmetic's
// results, and of values that are no NaN, is lazy: it may hold NaNs that are
// not canonical, and reading it is a producer as well. The bits of what comes
// to any other merge are kept, and so canonical from the start.
type nan struct {
	slots  []int32    // of locals: their place among floats and vectors, or -1
	static []shape    // of these: the only shape of floats, shapeNone of vectors
	now    []producer // what they hold
	saved  []producer // what they held at each if that is open
	merges []merge
	inputs []input
	work   []int32
}

type merge struct {
	shape  shape // how it is read, shapeMixed where bits must be kept
	read   bool
	parent int32 // of a group of merges that feed each other
	inputs int32 // its last input, -1 without one
}

// input is a value that may arrive at a merge.
type input struct {
	merge int32
	from  producer
	next  int32 // another one of the same merge, or -1
}

func (n *nan) start(kinds []byte, params int) {
	n.slots, n.static, n.now, n.saved = n.slots[:0], n.static[:0], n.now[:0], n.saved[:0]
	n.merges, n.inputs = n.merges[:0], n.inputs[:0]
	for i, k := range kinds {
		s := shapeNone
		switch k {
		case typeF32:
			s = shapeF32
		case typeF64:
			s = shapeF64
		case typeV128:
		default:
			n.slots = append(n.slots, -1)
			continue
		}
		n.slots = append(n.slots, int32(len(n.now)))
		n.static = append(n.static, s)
		if i < params {
			n.now = append(n.now, mixed)
		} else {
			n.now = append(n.now, clean)
		}
	}
}

// produce returns the producer of the result of the instruction just read.
func (f *body) produce(s shape) producer {
	switch {
	case s == shapeNone:
		return mixed
	case s == shapeClean || f.gas.dead:
		return clean
	}
	return producer(f.edit(edit{at: uint32(f.at), kind: editCanon, shape: s}))
}

// observe notes that the bits of a value may be seen.
func (f *body) observe(p producer) {
	if p > mixed {
		f.edits[p].on = true
	}
}

// consume notes an operand of an instruction that reads it as s.
func (f *body) consume(p producer, s shape) {
	e := &f.edits[p]
	made := &e.shape
	if e.kind == editGet {
		made = &f.nan.merges[e.arg].shape
	}
	switch {
	case s == shapeNone:
		e.on = true
	case *made == shapeNone: // of a vector
		*made = s
	case *made != s:
		e.on = true
	}
}

// get returns the producer of a local that is read.
func (f *body) get(x uint32) producer {
	slot := f.nan.slots[x]
	switch {
	case slot < 0:
		return mixed
	case f.gas.dead:
		return clean
	}
	p := f.nan.now[slot]
	if p >= clean {
		return p
	}
	m := mergeOf(p)
	f.nan.merges[m].read = true
	return producer(f.edit(edit{at: uint32(f.at), kind: editGet, arg: uint32(m)}))
}

// set notes that a local is set to the value of a producer.
func (f *body) set(x uint32, p producer) {
	slot := f.nan.slots[x]
	if slot < 0 || f.gas.dead {
		return
	}
	if p > mixed && f.edits[p].kind == editGet {
		p = producerOf(int32(f.edits[p].arg))
	}
	f.nan.now[slot] = p
}

func mergeOf(p producer) int32    { return int32(clean) - 1 - int32(p) }
func producerOf(m int32) producer { return clean - 1 - producer(m) }

// arrive notes that the locals as they are may come to the label of a frame.
func (f *body) arrive(t *frame) { f.bring(t, f.nan.now) }

func (f *body) bring(t *frame, values []producer) {
	n := &f.nan
	if f.gas.dead || len(values) == 0 {
		return
	}
	if t.merges < 0 {
		t.merges = int32(len(n.merges))
		for _, s := range n.static {
			n.merges = append(n.merges, merge{shape: s, parent: int32(len(n.merges)), inputs: -1})
		}
	}
	for i, p := range values {
		m := t.merges + int32(i)
		n.inputs = append(n.inputs, input{merge: m, from: p, next: n.merges[m].inputs})
		n.merges[m].inputs = int32(len(n.inputs) - 1)
	}
}

// merged makes the locals those that have come to the label of a frame.
func (f *body) merged(t *frame) {
	if t.merges < 0 {
		return
	}
	for i := range f.nan.now {
		f.nan.now[i] = producerOf(t.merges + int32(i))
	}
}

// resolve finds the merges that are lazy, and has what comes to others made
// canonical. Those that nothing reads do not matter.
func (n *nan) resolve(edits []edit) {
	n.work = n.work[:0]
	for i := range n.merges {
		if n.merges[i].read {
			n.work = append(n.work, int32(i))
		}
	}
	for len(n.work) > 0 {
		m := n.work[len(n.work)-1]
		n.work = n.work[:len(n.work)-1]
		for i := n.merges[m].inputs; i >= 0; i = n.inputs[i].next {
			if p := n.inputs[i].from; p < clean {
				from := mergeOf(p)
				if !n.merges[from].read {
					n.merges[from].read = true
					n.work = append(n.work, from)
				}
				n.join(m, from)
			}
		}
	}
	for _, i := range n.inputs {
		if !n.merges[i.merge].read || i.from <= clean {
			continue
		}
		if i.from == mixed || edits[i.from].kind == editLoad {
			n.merges[n.group(i.merge)].shape = shapeMixed
		} else {
			n.wants(n.group(i.merge), edits[i.from].shape)
		}
	}
	for _, i := range n.inputs {
		if n.merges[i.merge].read && i.from > mixed && n.merges[n.group(i.merge)].shape == shapeMixed {
			edits[i.from].on = true
		}
	}
}

// wants gives a group a shape, and mixes it if it has another one.
func (n *nan) wants(group int32, s shape) {
	g := &n.merges[group]
	switch {
	case g.shape == shapeNone:
		g.shape = s
	case s != shapeNone && s != g.shape:
		g.shape = shapeMixed
	}
}

// group returns the merge that stands for all that feed each other.
func (n *nan) group(m int32) int32 {
	for n.merges[m].parent != m {
		n.merges[m].parent = n.merges[n.merges[m].parent].parent
		m = n.merges[m].parent
	}
	return m
}

func (n *nan) join(a, b int32) {
	a, b = n.group(a), n.group(b)
	if a != b {
		n.merges[b].parent = a
		n.wants(a, n.merges[b].shape)
	}
}

func cleanF32(b []byte) producer {
	if len(b) < 4 || math.IsNaN(float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))) {
		return mixed
	}
	return clean
}

func cleanF64(b []byte) producer {
	if len(b) < 8 || math.IsNaN(math.Float64frombits(binary.LittleEndian.Uint64(b))) {
		return mixed
	}
	return clean
}

// cleanV128 knows only zero, which is no NaN in any shape.
func cleanV128(b []byte) producer {
	for _, x := range b {
		if x != 0 {
			return mixed
		}
	}
	return clean
}
