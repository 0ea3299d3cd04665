package meter

import "slices"

// MaxDepth is how many units of stack a guest has. A unit is a byte of the
// native stack of compiled code, of which the engine has at least 50 MB: what
// is estimated here is to run out first, so that the end is the same on every
// machine. An end by the engine itself is nobody's result. The engine's interpreter has a ceiling of its own, of 2000 calls.
const MaxDepth = 40 << 20

// depth estimates the stack frame of a function. The engine's compiler gives
// each value that lives across a call a slot of its own, and never uses it for
// another one. Locals are such values, and each time that one is set makes
// another value, which takes its slot when registers run short; so are operands
// that wait on the stack, each of them anew, what a block or call leaves there,
// and globals, which are variables until the next call.
type depth struct {
	locals  int // a vector counts twice
	results int
	stack   int // highest operand stack
	spilled int // operands that wait during calls
	sets    int // units for locals that are set, and for operands
	passed  int // most parameters and results of a call
	low     int // lowest operand stack since the last call
	vectors bool
	order   int   // locals set so far
	latest  []int // order when each local was set last, from 1
}

func (d *depth) start(kinds []byte, results int) {
	latest := slices.Grow(d.latest[:0], len(kinds))[:len(kinds)]
	clear(latest)
	*d = depth{locals: len(kinds), results: results, latest: latest}
	for _, k := range kinds {
		if k == typeV128 {
			d.locals++
		}
	}
}

// What a value may take that a local is set to, or an operand above those for
// which registers surely do: measured were at most 9 bytes, and 25 of a vector.
const (
	depthFew       = 6 // operands
	depthSet       = 10
	depthSetVector = 28

	depthPerGas = 64 // units of a frame beyond those that cost no gas
)

// depthFree are the units of a frame that cost no gas. It is a variable for the
// tests' reference alone, which knows nothing of frames.
var depthFree int64 = 1 << 10

// set notes a value that a local is set to, or another one that lives as long.
func (d *depth) set(kind byte) {
	if kind == typeV128 {
		d.sets += depthSetVector
	} else {
		d.sets += depthSet
	}
}

// pushed notes that an operand of a kind makes the stack so high.
func (d *depth) pushed(kind byte, height int) {
	d.stack = max(d.stack, height)
	if height > depthFew {
		d.set(kind)
	}
}

// setLocal notes that local x is set.
func (d *depth) setLocal(x uint32, kind byte) {
	d.set(kind)
	d.order++
	d.latest[x] = d.order
}

// join notes that ways meet which have been apart since: each local that was
// set meanwhile is another value from here on.
func (d *depth) join(kinds []byte, since int) {
	for x, at := range d.latest {
		if at > since {
			d.set(kinds[x])
		}
	}
}

// popped notes that the operand stack is as low as height.
func (d *depth) popped(height int) { d.low = min(d.low, height) }

// call notes one, with height operands that wait.
func (d *depth) call(height int, t signature) {
	d.spilled += height - min(d.low, height)
	d.low = height
	d.passed = max(d.passed, len(t.params)+len(t.results))
}

// gas is what a call costs because its frame is large. The engine's stack grows by
// being copied.
func (d *depth) gas() uint32 { return uint32(max(d.cost()-depthFree, 0) / depthPerGas) }

// cost is how many units a call of the function needs, itself included.
func (d *depth) cost() int64 {
	operands := d.stack + d.spilled
	if d.vectors {
		operands *= 2
	}
	return 48 + 8*int64(d.locals+operands+d.passed) + 16*int64(d.results) + int64(d.sets)
}
