package meter

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// arithmetic are the instructions that may make a NaN of any bits, from the
// specification's list of numeric instructions and not from this package's:
// those marked with a * take two operands.
const (
	arithmeticF32 = "8d 8e 8f 90 91 *92 *93 *94 *95 *96 *97"
	arithmeticF64 = "9b 9c 9d 9e 9f *a0 *a1 *a2 *a3 *a4 *a5"
	vectorsF32    = "67 68 69 6a e3 *e4 *e5 *e6 *e7 *e8 *e9"
	vectorsF64    = "74 75 7a 94 ef *f0 *f1 *f2 *f3 *f4 *f5"
)

const (
	nan32, canonical32 = 0xffa12345, 0x7fc00000
	nan64, canonical64 = 0xfff4123456789abc, 0x7ff8000000000000
)

func TestArithmeticMakesCanonicalNaNs(t *testing.T) {
	le32 := func(x uint32) []byte { return binary.LittleEndian.AppendUint32(nil, x) }
	le64 := func(x uint64) []byte { return binary.LittleEndian.AppendUint64(nil, x) }
	f32 := cat(0x43, le32(nan32))
	f64 := cat(0x44, le64(nan64))
	v32 := cat(opVector, 12, le32(nan32), le32(nan32), le32(nan32), le32(nan32))
	v64 := cat(opVector, 12, le64(nan64), le64(nan64))
	type made struct {
		name    string
		wasm    []byte
		results []uint64
	}
	var cases []made
	scalars := func(list string, operand []byte, kind string, reinterpret int, want uint64) {
		eachOpcode(list, func(code, operands int) {
			wasm := gasModule(">"+kind, "", repeat(operand, operands), code, reinterpret)
			cases = append(cases, made{fmt.Sprintf("%#x", code), wasm, []uint64{want}})
		})
	}
	scalars(arithmeticF32, f32, "i", 0xbc, canonical32)
	scalars(arithmeticF64, f64, "I", 0xbd, canonical64)
	scalars("b6", f64, "i", 0xbc, canonical32) // demote
	scalars("bb", f32, "I", 0xbd, canonical64) // promote
	vectors := func(list string, operand []byte, lanes ...uint64) {
		eachOpcode(list, func(code, operands int) {
			wasm := gasModule(">II", "v", repeat(operand, operands), opVector, leb(code), tee(0), opVector, 29, 0, get(0), opVector, 29, 1)
			cases = append(cases, made{fmt.Sprintf("vector %#x", code), wasm, lanes})
		})
	}
	const both = canonical32<<32 | canonical32
	vectors(vectorsF32, v32, both, both)
	vectors(vectorsF64, v64, canonical64, canonical64)
	vectors("5e", v64, both, 0)                  // demote
	vectors("5f", v32, canonical64, canonical64) // promote
	for _, c := range cases {
		metered := rewrite(t, c.wasm)
		for engine := range engines {
			got, _, trap := instantiate(t, engine, metered).run("f", budget)
			if trap != "" || fmt.Sprintf("%x", got) != fmt.Sprintf("%x", c.results) {
				t.Errorf("%s, %s: %x (%s), want %x", c.name, engine, got, trap, c.results)
			}
		}
	}
}

func eachOpcode(list string, f func(code, operands int)) {
	for at := 0; at < len(list); at += 3 {
		operands := 1
		if list[at] == '*' {
			operands = 2
			at++
		}
		var code int
		if _, err := fmt.Sscanf(list[at:at+2], "%x", &code); err != nil {
			panic(err)
		}
		f(code, operands)
	}
}

// Where a NaN that was just made meets a number of another origin, or of
// another shape, it is canonical whichever way the guest came.
func TestNaNsThatMeetOthersAreCanonical(t *testing.T) {
	bits := binary.LittleEndian.AppendUint64(nil, nan64)
	moved := cat(0x44, bits)                      // keeps its bits
	made := cat(0x44, bits, 0x44, bits, opF64Add) // is to be canonical
	vector := cat(opVector, 12, bits, bits)
	sum := cat(vector, vector, opVector, leb(0xf0))
	for name, c := range map[string]struct {
		wasm       []byte
		taken, not uint64
	}{
		"an if of a local": {
			gasModule("i>I", "F", moved, set(1), get(0), opIf, blockEmpty, made, set(1), opEnd, get(1), 0xbd), canonical64, nan64,
		},
		"an if of a value": {
			gasModule("i>I", "", get(0), opIf, typeF64, made, opElse, moved, opEnd, 0xbd), canonical64, nan64,
		},
		"a branch out of a block": {
			gasModule("i>I", "F", opBlock, blockEmpty, made, set(1), get(0), opBrIf, 0, moved, set(1), opEnd, get(1), 0xbd), canonical64, nan64,
		},
		"a vector of two shapes": {
			gasModule("i>I", "v", get(0), opIf, blockEmpty, sum, set(1), opElse, vector, set(1), opEnd, get(1), opVector, 29, 1), canonical64, nan64,
		},
		"a vector that is a sum of singles or of doubles": {
			gasModule("i>I", "v", get(0), opIf, blockEmpty, sum, set(1), opElse, vector, vector, opVector, leb(0xe4), set(1), opEnd, get(1), opVector, 29, 0), canonical64, 0,
		},
	} {
		metered := rewrite(t, c.wasm)
		for engine := range engines {
			for arg, want := range []uint64{c.not, c.taken} {
				got, _, trap := instantiate(t, engine, metered).run("f", budget, uint64(arg))
				if trap != "" || want != 0 && got[0] != want {
					t.Errorf("%s, %s, %d: %x (%s), want %x", name, engine, arg, got, trap, want)
				}
				if want == 0 && uint32(got[0]>>32) != canonical32 { // the upper single is the NaN's
					t.Errorf("%s, %s, %d: %x has another NaN than %x", name, engine, arg, got, canonical32)
				}
			}
		}
	}
}
