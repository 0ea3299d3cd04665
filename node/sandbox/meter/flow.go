package meter

// flow estimates what the control flow of a function costs a compiler, beyond
// what each of its instructions does. The engine's does three things again and
// again: it looks for the value of a variable that is read from block to block,
// back to where ways joined last, and from a join along each way that leads
// there; it lists for each block the values that live into it, and the addresses
// whose bounds are known; and for each way it goes up to the function's start,
// through all blocks that every way passes. None of this is bounded by the
// length of the code, so modules of a few KB took it minutes.
type flow struct {
	line  int    // blocks since ways joined
	path  int    // blocks, and accesses to memory, that every way here passes
	work  uint64 // in units of some 100 ns
	looks uint64 // blocks in which variables are looked for
	each  uint64 // the same, for a variable that all of the function uses

	function int    // its number
	globals  uint64 // that it uses, which are variables as well
}

// ways are those that lead to a label.
type ways struct {
	n    int
	line int // most of all
	path int // least of all
}

// What counts as a unit of work.
const (
	looksPerWork = 16
	pathPerWork  = 8
	workPerFloat = 8 // of a local that nan follows
)

// block notes that one begins or ends here.
func (f *body) block() {
	w := &f.flow
	w.each++
	w.looks += uint64(w.line)
	w.work += uint64(1 + len(f.kinds) + workPerFloat*len(f.nan.now) + len(f.stack) + w.path/pathPerWork)
	f.branching()
}

func (f *body) branching() {
	f.within("the branches of one function, with what lives across them,", f.flow.total(), f.m.ceilings.Merges)
}

func (w *flow) total() uint64 { return w.work + w.looks/looksPerWork }

// read notes that n variables are read.
func (w *flow) read(n int) { w.looks += uint64(n * w.line) }

// step begins a block to which there is one way.
func (f *body) step() {
	f.block()
	f.flow.line++
	f.flow.path++
}

// lead notes a way from here to a label.
func (f *body) lead(t *frame) {
	f.pass(len(t.label()))
	if f.gas.dead {
		return
	}
	w, to := &f.flow, &t.ways
	if to.n == 0 || w.path < to.path {
		to.path = w.path
	}
	to.line = max(to.line, w.line)
	to.n++
	w.work += uint64(to.n / pathPerWork)
	w.looks += uint64((w.line + 1) * len(f.kinds))
	w.each += uint64(w.line + 1)
	f.block()
}

// pass notes that a call or a branch passes values.
func (f *body) pass(n int) {
	f.passed += uint64(n)
	f.within("the values that the calls and branches of one function pass", f.passed, mostPassed)
}

// meet begins the block at a label, if any way leads there.
func (f *body) meet(at *ways) {
	if at.n == 0 {
		return
	}
	f.flow.path, f.flow.line = at.path+1, 0
	if at.n == 1 {
		f.flow.line = at.line + 1
	}
}

// check notes a branch that is injected and not taken.
func (f *body) check() {
	f.step()
	f.step()
}

// detour notes a branch that is injected and comes back.
func (f *body) detour() {
	var back frame
	f.step()
	f.lead(&back)
	f.lead(&back)
	f.meet(&back.ways)
}

// back is where an if began.
func (w *flow) back(to *frame) { w.line, w.path = to.line, to.path }

// use notes that a global is read or set.
func (f *body) use(x int) {
	if f.used[x] != f.flow.function {
		f.used[x] = f.flow.function
		f.flow.globals++
	}
}
