package meter

import (
	"bytes"
	"testing"
)

// The locals of main in modules with runs: addresses, numbers, and others.
const (
	runLocals  = "iiiiFFFIifv"
	addresses  = 4
	numbers    = 3
	otherLocal = addresses + numbers // I i f v
	counter    = otherLocal + 1
)

// generateRuns makes a main of pieces of code that are runs, or nearly so: its
// addresses are often close to each other, and not always divisible by 8.
func (g *generator) generateRuns() {
	g.floats = true
	g.function(">", "", "", runLocals, func() {
		for at := 0; at < 160; at += 8 {
			g.op(1, i32(at))
			g.special()
			g.op(1, opF64Store, 3, 0)
		}
		for range 10 {
			p := piece{g, g.IntN(3) == 0, g.IntN(2) == 0}
			for x := range addresses {
				g.op(1, i32(p.place()))
				g.op(1, set(x))
			}
			repeats := g.IntN(3)
			if repeats > 0 {
				g.op(1, i32(repeats))
				g.op(1, set(counter))
				g.op(0, opLoop, blockEmpty)
			}
			for range 3 + g.IntN(12) {
				p.step()
			}
			if repeats > 0 {
				g.op(1, get(counter))
				g.op(1, i32(-1))
				g.op(1, opI32Add)
				g.op(1, tee(counter))
				g.op(1, opBrIf, 0)
				g.op(0, opEnd)
			}
			if g.IntN(3) == 0 {
				g.op(1, i32(kept))
				g.op(1, get(addresses+g.IntN(numbers)))
				g.op(1, opF64Store, 0, g.IntN(64))
			}
		}
		g.op(1, i32(kept+64))
		g.op(1, get(otherLocal))
		g.op(1, 0x37, 0, 0)
	})
}

// piece is code that is a run unless it is interrupted.
type piece struct {
	*generator
	interrupted bool
	odd         bool // some addresses are not divisible by 8
}

// place is where an address points to, nearly always in the first bytes.
func (g piece) place() int {
	at := 8 * (4 + g.IntN(4))
	if g.odd && g.IntN(3) == 0 {
		at += g.IntN(8)
	}
	if g.IntN(1000) == 0 {
		at = -8
	}
	return at
}

func (g piece) address() (offset int) {
	switch g.IntN(5) {
	case 0:
		g.op(1, i32(g.place()))
	case 1:
		g.op(1, get(g.IntN(addresses)))
		g.op(1, i32(8*(g.IntN(3)-1)))
		g.op(1, opI32Add)
		if g.IntN(2) == 0 {
			g.op(1, tee(g.IntN(addresses)))
		}
	default:
		g.op(1, get(g.IntN(addresses)))
	}
	if g.odd && g.IntN(20) == 0 {
		return g.IntN(24)
	}
	return 8 * g.IntN(2)
}

func (g piece) load() { g.op(1, opF64Load, g.IntN(4), g.address()) }

// special pushes a number that is often infinite, or a NaN with some payload.
func (g *generator) special() {
	b := g.float(8)
	if g.IntN(2) == 0 {
		copy(b[6:], []byte{0xf0 | byte(g.IntN(2)<<3), 0x7f | byte(g.IntN(2)<<7)})
	}
	g.op(1, opF64Const, b)
}

// number pushes one that arithmetic may have made.
func (g piece) number() {
	operand := func() {
		switch g.IntN(6) {
		case 0:
			g.special()
		case 1, 2:
			g.op(1, get(addresses+g.IntN(numbers)))
		default:
			g.load()
		}
	}
	operand()
	if g.interrupted && g.IntN(8) == 0 {
		return
	}
	for range 1 + g.IntN(2) {
		operand()
		g.emit(instr{code: []byte{byte(opF64Add + g.IntN(3))}, gas: 1, canon: shapeF64})
	}
}

// step is mostly a store, and sometimes what a run cannot have, or ends by.
func (g piece) step() {
	n := 36
	if !g.interrupted {
		n = 28
	}
	switch g.IntN(n) {
	case 0, 1, 2, 3, 4:
		g.load()
		g.op(1, set(addresses+g.IntN(numbers)))
	case 5, 6:
		g.number()
		g.op(1, set(addresses+g.IntN(numbers)))
	case 28:
		g.op(1, i32(g.place()))
		g.op(1, set(g.IntN(addresses)))
	case 29:
		g.op(1, get(g.IntN(addresses)))
		g.op(1, i32(8))
		g.op(1, opI32Add)
		g.op(1, set(g.IntN(addresses)))
	case 30: // an integer that sees the bits, added to what others saw
		load := 0x29
		if g.IntN(2) == 0 {
			load = 0x30
		}
		g.op(1, load, 0, g.address())
		g.op(1, get(otherLocal))
		g.op(1, opI64Add)
		g.op(1, set(otherLocal))
	case 31:
		g.number()
		g.op(1, 0xbd)
		g.op(1, set(otherLocal))
	case 32:
		offset := g.address()
		g.op(1, opF32Const, g.float(4))
		g.op(1, 0x38, 0, offset)
	case 33:
		offset := g.address()
		g.op(gasVector, opVector, 0, 0, g.address())
		g.op(gasVector, opVector, 11, 0, offset)
	case 34:
		g.op(1, get(otherLocal))
		g.op(1, 0xa7)
		g.op(1, opIf, blockEmpty)
		g.step()
		g.op(0, opEnd)
	case 35: // operands wait meanwhile
		g.op(1, i32(kept+128))
		g.load()
		g.op(0, opBlock, blockEmpty)
		g.step()
		g.op(0, opEnd)
		g.op(1, opF64Store, 0, g.IntN(64))
	default:
		offset := g.address()
		g.number()
		g.op(1, opF64Store, g.IntN(4), offset)
	}
}

func TestRunsBehaveLikeReference(t *testing.T) {
	ended := 0
	const modules = 80
	for seed := range uint64(modules) {
		g := newGenerator(seed)
		g.generateRuns()
		if behaves(t, seed, g) {
			ended++
		}
	}
	if ended < modules/2 {
		t.Errorf("only %d of %d modules ran to their end", ended, modules)
	}
}

// FuzzRuns compares a generated module that has runs with its reference.
func FuzzRuns(f *testing.F) {
	f.Add(uint64(1 << 32))
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := newGenerator(seed)
		g.generateRuns()
		behaves(t, seed, g)
	})
}

func TestLongRunsAreCut(t *testing.T) {
	a := newAssembly()
	a.memories = [][]byte{{0, 1}}
	a.function("iF>", "", repeat(cat(get(0), get(1), get(1), opF64Add, opF64Store, 3, 0), 2*runMost+runLeast))
	if runs := bytes.Count(rewrite(t, a.encode()), cat(opBlock, blockEmpty, opLoop, blockEmpty)); runs != 3 {
		t.Errorf("%d runs, want 3", runs)
	}
}

// TestRuns tells what a run is by how many times it has the store.
func TestRuns(t *testing.T) {
	store := func(address []byte, offset int) []byte {
		return cat(address, get(1), get(1), opF64Add, opF64Store, 3, offset)
	}
	load := func(offset int, use ...any) []byte {
		return cat(get(0), opF64Load, 3, offset, cat(use...))
	}
	three := cat(store(get(0), 0), store(get(0), 8), store(cat(get(0), i32(-8), opI32Add), 16))
	cases := []struct {
		name string
		body []byte
		is   bool
	}{
		{"three stores", three, true},
		{"two stores", cat(store(get(0), 0), store(get(0), 8)), false},
		{"at constant addresses", cat(store(i32(16), 0), store(i32(24), 0), store(i32(0), 32)), true},
		{"not divisible by 8", cat(store(get(0), 0), store(get(0), 4), store(get(0), 8)), false},
		{"of a copied address", cat(get(0), i32(8), opI32Add, set(2), store(get(0), 0), store(get(2), 0), store(get(2), 8)), true},
		{"the address changes", cat(store(get(0), 0), store(get(0), 8), get(2), set(0), store(get(0), 8)), false},
		{"the address changes behind them", cat(three, i32(0), set(0)), true},
		{"what is loaded goes to arithmetic", cat(store(get(0), 0), load(8, get(1), opF64Add, set(1)), store(get(0), 8), store(get(0), 16)), true},
		{"the bits of what is loaded are seen", cat(store(get(0), 0), load(8, 0xbd, opDrop), store(get(0), 8), store(get(0), 16)), false},
		{"they are seen later", cat(store(get(0), 0), load(0, set(3)), store(get(0), 8), store(get(0), 16), opBlock, blockEmpty, i32(0), opBrIf, 0, opEnd, get(3), 0xbd, opDrop), false},
		{"an integer is loaded", cat(store(get(0), 0), get(0), 0x28, 2, 64, opDrop, store(get(0), 8), store(get(0), 16)), false},
		{"an integer is loaded before", cat(get(0), 0x28, 2, 64, opDrop, three), true},
		{"a branch lies between", cat(store(get(0), 0), store(get(0), 8), opBlock, blockEmpty, opEnd, store(get(0), 16)), false},
		{"what is stored was not made at once", cat(store(get(0), 0), store(get(0), 8), get(0), get(1), opF64Store, 3, 16), false},
	}
	for _, c := range cases {
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		a.function("iF>", "iF", c.body)
		loops := bytes.Count(rewrite(t, a.encode()), cat(opBlock, blockEmpty, opLoop, blockEmpty))
		if got := loops > 0; got != c.is {
			t.Errorf("%s: a run %v, want %v", c.name, got, c.is)
		}
	}
}
