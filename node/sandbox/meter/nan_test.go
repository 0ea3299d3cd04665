package meter

import "testing"

const (
	one64 = 0x3ff0_0000_0000_0000
	// NaNs with a payload: quiet, and quiet and negative.
	payload32, negative32 = 0x7fc1_2345, 0xffc5_4321
	payload64, negative64 = 0x7ff8_0000_1234_5678, 0xfffc_8765_4321_0000
)

// from pushes an operand of one of the kinds f F S D, where S and D are vectors
// of f32 and f64, whose numbers have the bits of the i64 in a local.
func from(kind byte, local int) []byte {
	switch kind {
	case 'f':
		return cat(get(local), 0xa7, 0xbe)
	case 'F':
		return cat(get(local), 0xbf)
	case 'S':
		return cat(get(local), 0xa7, opVector, 17)
	default:
		return cat(get(local), opVector, 18)
	}
}

// shown turns a value into two i64 with its bits.
func shown(kind byte, local int) []byte {
	switch kind {
	case 'f':
		return cat(0xbc, opI64ExtendU, i64(0))
	case 'F':
		return cat(0xbd, i64(0))
	default:
		return cat(set(local), get(local), opVector, 29, 0, get(local), opVector, 29, 1)
	}
}

// TestMovedNaNsKeepTheirBits is about what is no arithmetic.
func TestMovedNaNsKeepTheirBits(t *testing.T) {
	both := func(words uint64) uint64 { return words | words<<32 }
	for _, c := range []struct {
		name string
		kind byte
		code []byte
		in   uint64
		want uint64
	}{
		{"f32.abs", 'f', cat(0x8b), negative32, negative32 &^ (1 << 31)},
		{"f32.neg", 'f', cat(0x8c), payload32, payload32 | 1<<31},
		{"f32.copysign", 'f', cat(from('f', 1), 0x98), negative32, negative32 &^ (1 << 31)},
		{"f64.abs", 'F', cat(0x99), negative64, negative64 &^ (1 << 63)},
		{"f64.neg", 'F', cat(0x9a), payload64, payload64 | 1<<63},
		{"f64.copysign", 'F', cat(from('F', 1), 0xa6), negative64, negative64 &^ (1 << 63)},
		{"f32x4.abs", 'S', cat(opVector, leb(224)), negative32, both(negative32 &^ (1 << 31))},
		{"f32x4.neg", 'S', cat(opVector, leb(225)), payload32, both(payload32 | 1<<31)},
		{"f32x4.pmin", 'S', cat(from('S', 1), opVector, leb(234)), payload32, both(payload32)},
		{"f32x4.pmax", 'S', cat(from('S', 1), opVector, leb(235)), payload32, both(payload32)},
		{"f64x2.abs", 'D', cat(opVector, leb(236)), negative64, negative64 &^ (1 << 63)},
		{"f64x2.neg", 'D', cat(opVector, leb(237)), payload64, payload64 | 1<<63},
		{"f64x2.pmin", 'D', cat(from('D', 1), opVector, leb(246)), payload64, payload64},
		{"f64x2.pmax", 'D', cat(from('D', 1), opVector, leb(247)), payload64, payload64},
		{"select", 'F', cat(from('F', 1), i32(1), opSelect), payload64, payload64},
	} {
		a := newAssembly()
		a.export("f", KindFunction, a.function("II>II", "v", from(c.kind, 0), c.code, shown(c.kind, 2)))
		for engine := range engines {
			r, _, trap := instantiate(t, engine, rewrite(t, a.encode())).run("f", budget, c.in, 0)
			if trap != "" || r[0] != c.want {
				t.Errorf("%s, %s: %#x became %#x, want %#x; trap %q", c.name, engine, c.in, r[0], c.want, trap)
			}
		}
	}
}

// TestNaNsWherePathsMeet has values of different origins come to one local, or
// to an instruction that reads them as other numbers than they were made as.
// Parameters: 0 is 1 to take the first way and 0 for the second, 1 a NaN with a
// payload. Local 2 is the result, 3 a counter, 4 a vector, 5 and 6 others.
func TestNaNsWherePathsMeet(t *testing.T) {
	var (
		divided   = cat(opF64Const, make([]byte, 8), opF64Const, make([]byte, 8), 0xa3) // on some processors with a sign
		moved     = cat(get(1), 0xbf)
		number    = cat(opF64Const, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f)
		zero      = cat(opVector, vectorConst, make([]byte, 16))
		single    = cat(zero, zero, opVector, leb(231)) // f32x4
		double    = cat(zero, zero, opVector, leb(243)) // f64x2
		seen      = cat(get(2), 0xbd)
		lane      = cat(get(4), opVector, 29, 0)
		twice32   = uint64(canonical32 | canonical32<<32)
		condition = cat(get(0), 0xa7)
	)
	either := func(first, second []byte, local int) []byte {
		return cat(condition, opIf, blockEmpty, first, set(local), opElse, second, set(local), opEnd)
	}
	run := func(from int) []byte { // stores three, and loads between
		store := func(at int) []byte { return cat(i32(at), divided, opF64Store, 3, 0) }
		return cat(store(0), store(8), i32(from), opF64Load, 3, 0, set(2), store(16), get(2))
	}
	for _, c := range []struct {
		name   string
		body   []byte
		first  uint64
		second uint64
	}{
		{"made or moved", cat(either(divided, moved, 2), seen), canonical64, payload64},
		{"moved or made", cat(either(moved, divided, 2), seen), payload64, canonical64},
		{"made or a number", cat(either(divided, number, 2), seen), canonical64, one64},
		{"made or what was there", cat(moved, set(2), condition, opIf, blockEmpty, divided, set(2), opEnd, seen), canonical64, payload64},
		{"made, or what was there and is zero", cat(condition, opIf, blockEmpty, divided, set(2), opEnd, seen), canonical64, 0},
		{"both made", cat(either(divided, cat(divided, divided, 0xa0), 2), seen), canonical64, canonical64},
		{"made before a branch that leaves", cat(moved, set(2), opBlock, blockEmpty, divided, set(2), condition, opBrIf, 0, moved, set(2), opEnd, seen), canonical64, payload64},
		{"what merged merges again", cat(number, set(2), opBlock, blockEmpty, either(divided, number, 2), condition, opBrIf, 0, moved, set(2), opEnd, seen), canonical64, payload64},
		{"in a loop, moved at first", cat(moved, set(2), opLoop, blockEmpty, get(3), opIf, typeI64, seen, opReturn, opElse, i64(0), opEnd, opDrop,
			i32(1), set(3), condition, opIf, blockEmpty, divided, set(2), opEnd, opBr, 0, opEnd, i64(0)), canonical64, payload64},
		{"in a loop, a number at first", cat(number, set(2), opLoop, blockEmpty, get(3), opIf, typeI64, seen, opReturn, opElse, i64(0), opEnd, opDrop,
			i32(1), set(3), condition, opIf, blockEmpty, divided, set(2), opEnd, opBr, 0, opEnd, i64(0)), canonical64, one64},
		{"by a table of branches", cat(moved, set(2), opBlock, blockEmpty, opBlock, blockEmpty, condition, opBrTable, 1, 1, 0, opEnd, divided, set(2), opEnd, seen), canonical64, payload64},
		{"copied before it merges", cat(divided, set(5), either(cat(get(5)), moved, 2), seen), canonical64, payload64},
		{"loaded in a run from among what is stored", cat(either(divided, run(0), 2), seen), canonical64, canonical64},
		{"loaded in a run from elsewhere", cat(i32(24), get(1), 0x37, 3, 0, either(divided, run(24), 2), seen), canonical64, payload64},
		{"seen in an else", cat(divided, set(2), condition, opIf, typeI64, number, set(2), i64(7), opElse, seen, opEnd), 7, canonical64},
		{"vectors of two shapes", cat(either(single, double, 4), lane), twice32, canonical64},
		{"a vector that is read as other numbers", cat(either(single, double, 4), get(4), opVector, leb(237), set(4), lane), twice32 | 1<<63, canonical64 | 1<<63},
		{"a vector of f32 that is added as f64", cat(single, zero, opVector, leb(240), set(4), lane), twice32, twice32},
		{"a vector of f32 that is added as f64, after a merge", cat(either(single, zero, 4), get(4), zero, opVector, leb(240), set(4), lane), twice32, 0},
		{"a vector that two merges read as different numbers", cat(either(single, zero, 4), get(4), zero, opVector, leb(240), set(6),
			opBlock, blockEmpty, condition, opBrIf, 0, zero, set(4), opEnd, lane, opDrop, get(6), opVector, 29, 0), twice32, 0},
		{"a vector of f64 that is added as f32", cat(double, zero, opVector, leb(228), set(4), lane), canonical32 << 32, canonical32 << 32},
		{"a vector that is lent a lane", cat(single, get(1), opVector, 30, 1, set(4), lane), twice32, twice32},
	} {
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		a.export("f", KindFunction, a.function("II>I", "FivFv", c.body))
		wasm := rewrite(t, a.encode())
		for engine := range engines {
			i := instantiate(t, engine, wasm)
			for taken, want := range []uint64{c.second, c.first} {
				r, _, trap := i.run("f", budget, uint64(taken), payload64)
				if trap != "" || r[0] != want {
					t.Errorf("%s, %s, way %d: %#x, want %#x; trap %q", c.name, engine, taken, r, want, trap)
				}
			}
		}
	}
}
