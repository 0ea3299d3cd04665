package meter

// The gas table. An instruction costs 1, but for these; block, loop, else, end
// and nop are free.
const (
	gasDivide       = 8 // division and remainder of integers
	gasDivideFloat  = 4
	gasRoot         = 5
	gasVector       = 2 // vector instructions, but for constants
	gasVectorSlow   = 6 // vector division, roots, and multiplication of i64x2
	gasTable        = 3 // br_table
	gasCall         = 4
	gasCallIndirect = 8
	gasLocal        = 1 // each declared local, at the entry of its function

	gasReference = 100 // ref.func, for which compiled code is left, as for what follows
	gasGrow      = 60  // memory.grow and table.grow, whatever the length
	gasFill      = 40  // memory.fill, whatever the length

	// What bulk operations cost on top of 1, by length.
	bytesPerGasLog = 3  // 1 for each 8 bytes that are copied or filled
	gasPerPageLog  = 13 // 8192 for each page that memory grows by
	// Each element of a table that is copied, filled or grown costs 1.

	// What an instance costs before it runs, beside what its data would cost to
	// copy, and its tables and memory to grow: about as many as nanoseconds were
	// measured.
	costGlobal  = 64 // each global
	costElement = 64 // each entry of an element segment
	costSegment = 32 // each segment, of data or elements
	costImport  = 64 // each import
	costTable   = 64 // each table

	// unchecked is how much a function without loops and calls may cost and not
	// look whether the gas has run out; its caller will.
	unchecked = 256
)

// editKind is what is injected at one place.
type editKind byte

const (
	editEntry  editKind = iota // charge a function's first segment
	editCharge                 // charge a segment
	editLoop                   // charge a segment, write what is left to its global, and end the guest if it cannot pay
	editFlush                  // write the gas that is left to its global
	editReload                 // read it from there
	editReturn                 // before a return
	editExit                   // at the end of a function
	editBulk                   // charge by length, on top of the stack
	editCanon                  // make the NaN on top of the stack canonical
	editGet                    // the same, of a local
	editLoad                   // nothing: a run loaded what may be a NaN that is not canonical yet
)

// edit is something injected before the byte at. Edits are in the order of the
// code.
type edit struct {
	at    uint32
	arg   uint32 // cost, limit of a length, local, or run
	kind  editKind
	unit  bulkUnit
	shape shape
	on    bool // NaNs: somebody may see the bits. Exits: the global is up to date
}

// bulkUnit is what a length counts.
type bulkUnit byte

const (
	bulkBytes bulkUnit = iota
	bulkElements
	bulkPages
)

// noLimit is the limit of operations that do not fail beyond one. Growing
// beyond a limit fails at once, and is free.
const noLimit = 1<<32 - 1

// gas follows a function's control flow. Straight code is one segment, charged
// as a whole where it starts. While the function runs, what is left is in a
// local; a call and a loop's head flush it to the global, and after a call it is
// read again only when it is next needed: until then the local is stale.
type gas struct {
	cost  uint32 // of the open segment
	open  int    // its edit, -1 in code that never runs
	dead  bool   // what follows never runs
	stale bool

	forks    []fork
	charges  uint64 // sum of all segments but the first
	loops    int    // that may repeat
	bulk     bool   // it has bulk operations
	calls    bool
	targeted bool // a branch leads to the function's end
}

func (f *body) edit(e edit) int {
	f.edits = append(f.edits, e)
	return len(f.edits) - 1
}

func (g *gas) start(f *body) {
	*g = gas{forks: g.forks[:0], open: f.edit(edit{at: uint32(f.at), kind: editEntry})}
	g.add(uint32(len(f.kinds)-len(f.sign.params)) * gasLocal)
}

func (g *gas) add(cost uint32) { g.cost += cost }

func (g *gas) settle(f *body) {
	if g.open >= 0 {
		f.edits[g.open].arg = g.cost
		if g.open > 0 {
			g.charges += uint64(g.cost)
		}
	}
	g.cost, g.open = 0, -1
}

// segment starts one here. The local is not stale.
func (g *gas) segment(f *body) {
	g.settle(f)
	if !g.dead {
		g.open = f.edit(edit{at: uint32(f.at), kind: editCharge})
	}
}

// join makes sure before the instruction at that the local is not stale,
// because other paths lead to what follows.
func (g *gas) join(f *body, at int) {
	if g.stale {
		f.edit(edit{at: uint32(at), kind: editReload})
		g.stale = false
	}
}

// stop notes that what follows never runs.
func (g *gas) stop(f *body) {
	g.settle(f)
	g.dead, g.stale = true, false
}

// fork is where control goes on in one of two segments that nothing else leads
// to, by their edits. The other is -1 as long as there is none.
type fork struct{ from, next, other int }

// fork starts the segment here after a conditional branch, and returns the
// fork, which has no other segment yet, or -1 in code that never runs.
func (g *gas) fork(f *body) int {
	from := g.open
	g.segment(f)
	if g.open < 0 {
		return -1
	}
	g.forks = append(g.forks, fork{from: from, next: g.open, other: -1})
	return len(g.forks) - 1
}

// meet notes that the segment just started is the other one of a fork.
func (g *gas) meet(fork int) {
	if fork >= 0 && g.open >= 0 {
		g.forks[fork].other = g.open
	}
}

// advance charges what both ways of a fork cost before it, so that one of them
// has no charge.
func (g *gas) advance(edits []edit) {
	for i := len(g.forks) - 1; i >= 0; i-- {
		k := g.forks[i]
		if k.other < 0 {
			continue
		}
		both := min(edits[k.next].arg, edits[k.other].arg)
		edits[k.from].arg += both
		edits[k.next].arg -= both
		edits[k.other].arg -= both
	}
}

// loop starts the segment of a loop's head and returns its edit.
func (g *gas) loop(f *body) int {
	g.segment(f)
	if g.open >= 0 {
		f.edits[g.open].kind = editLoop
		g.loops++
	}
	return g.open
}

// unloop notes that a loop never repeats.
func (g *gas) unloop(f *body, head int) {
	if head >= 0 {
		f.edits[head].kind = editCharge
		g.loops--
	}
}

// flush notes a call at.
func (g *gas) flush(f *body, at int) {
	if g.dead {
		return
	}
	if !g.stale {
		f.edit(edit{at: uint32(at), kind: editFlush})
	}
	g.stale, g.calls = true, true
}

// charge charges for what the instruction at does by the length on top of the
// stack, which is free beyond limit.
func (f *body) charge(at int, unit bulkUnit, limit uint32) {
	if f.gas.dead {
		return
	}
	f.gas.join(f, at)
	f.check()
	f.edit(edit{at: uint32(at), kind: editBulk, unit: unit, arg: limit})
	f.gas.bulk = true
}

// traps notes an unreachable at. What is left is told before: it is the usual
// end of a program that gives up.
func (g *gas) traps(f *body, at int) {
	if !g.dead && !g.stale {
		f.edit(edit{at: uint32(at), kind: editFlush})
	}
}

// leaves notes a return, or the end of the function, at.
func (g *gas) leaves(f *body, at int, kind editKind) {
	if !g.dead {
		f.edit(edit{at: uint32(at), kind: kind, on: g.stale})
	}
}

// finish ends the function, at its last byte.
func (g *gas) finish(f *body, at int, targeted bool) {
	g.settle(f)
	g.advance(f.edits)
	if g.calls {
		f.edits[0].arg += f.depth.gas()
	}
	g.dead = g.dead && !targeted
	g.targeted = targeted
	g.leaves(f, at, editExit)
}
