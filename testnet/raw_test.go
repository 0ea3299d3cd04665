//go:build e2e && unix

package testnet

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// This file assembles modules that no compiler would make, after the binary
// format of https://www.w3.org/TR/wasm-core-2/.

// raw is a module to be: one memory, functions without parameters and results,
// and what it imports from WASI. The first function is _start.
type raw struct {
	imports   []wasiFunction // their indexes come first
	pages     uint64         // that the memory starts with
	table     bool           // has an empty table of functions without a maximum
	functions []rawFunction
}

type rawFunction struct {
	locals uint64 // of type i32
	code   []byte
}

type wasiFunction struct {
	name   string
	params int // of type i32; its result is one i32
}

// Opcodes and what else code is made of.
const (
	opBlock, opLoop, opIf, opEnd  = 0x02, 0x03, 0x04, 0x0b
	opBranch, opBranchIf, opCall  = 0x0c, 0x0d, 0x10
	opDrop, opGet, opSet          = 0x1a, 0x20, 0x21
	opStore, opSize, opGrow       = 0x36, 0x3f, 0x40
	opConst, opNotEqual           = 0x41, 0x47
	opAdd, opSub, opShiftLeft     = 0x6a, 0x6b, 0x74
	opNull, opBulk                = 0xd0, 0xfc
	bulkCopy, bulkFill, tableGrow = 10, 11, 15
	typeI32, typeFunc, typeNone   = 0x7f, 0x70, 0x40
)

func unsigned(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// number is the instruction that pushes n.
func number(n int32) []byte {
	code := []byte{opConst}
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(code, b)
		}
		code = append(code, b|0x80)
	}
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }
func op(codes ...byte) []byte     { return codes }
func get(local uint64) []byte     { return join(op(opGet), unsigned(local)) }
func set(local uint64) []byte     { return join(op(opSet), unsigned(local)) }
func call(function uint64) []byte { return join(op(opCall), unsigned(function)) }
func endless(body ...[]byte) []byte {
	return join(op(opLoop, typeNone), join(body...), op(opBranch, 0, opEnd))
}
func storeAt(at int32, v []byte) []byte { return join(number(at), v, op(opStore, 2, 0)) }

func fdWrite() wasiFunction   { return wasiFunction{"fd_write", 4} }
func randomGet() wasiFunction { return wasiFunction{"random_get", 2} }

// print is code that writes v to stdout as four bytes, where function 0 is
// fd_write. It uses the memory's first 32 bytes.
func print(v []byte) []byte {
	return join(storeAt(16, v), storeAt(0, number(16)), storeAt(4, number(4)),
		number(1), number(0), number(1), number(8), call(0), op(opDrop))
}

// sized is b behind its length.
func sized(b []byte) []byte { return join(unsigned(uint64(len(b))), b) }

func section(id byte, parts ...[]byte) []byte {
	return join(op(id), sized(join(unsigned(uint64(len(parts))), join(parts...))))
}

// wasm assembles the module.
func (m raw) wasm() []byte {
	types := [][]byte{op(0x60, 0, 0)}
	var imports, functions, bodies [][]byte
	for i, f := range m.imports {
		types = append(types, join(op(0x60), sized(bytes.Repeat(op(typeI32), f.params)), op(1, typeI32)))
		imports = append(imports, join(sized([]byte("wasi_snapshot_preview1")), sized([]byte(f.name)), op(0), unsigned(uint64(i+1))))
	}
	for _, f := range m.functions {
		functions = append(functions, op(0))
		body := op(0)
		if f.locals > 0 {
			body = join(op(1), unsigned(f.locals), op(typeI32))
		}
		bodies = append(bodies, sized(join(body, f.code, op(opEnd))))
	}
	var tables [][]byte
	if m.table {
		tables = append(tables, op(typeFunc, 0, 0))
	}
	start := unsigned(uint64(len(m.imports)))
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, types...), section(2, imports...), section(3, functions...), section(4, tables...),
		section(5, join(op(0), unsigned(m.pages))),
		section(7, join(sized([]byte("memory")), op(2, 0)), join(sized([]byte("_start")), op(0), start)),
		section(10, bodies...))
}

// The hostile ones.

// growing takes memory page by page until it gets no more, fills each, and
// prints how many it has.
func growing() []byte {
	fill := join(op(opSize, 0), number(1), op(opSub), number(16), op(opShiftLeft), number(1), number(64<<10), op(opBulk, bulkFill, 0))
	return raw{imports: []wasiFunction{fdWrite()}, pages: 1, functions: []rawFunction{{code: join(
		op(opLoop, typeNone), number(1), op(opGrow, 0), number(-1), op(opNotEqual, opIf, typeNone), fill, op(opBranch, 1, opEnd, opEnd),
		print(op(opSize, 0)),
	)}}}.wasm()
}

// startingWith has so many pages of memory from the start.
func startingWith(pages uint64) []byte {
	return raw{pages: pages, functions: []rawFunction{{}}}.wasm()
}

// tabling asks 60 times for 10 million elements of a table, and prints how often
// it got them.
func tabling() []byte {
	grow := join(op(opNull, typeFunc), number(10_000_000), op(opBulk, tableGrow, 0), number(-1), op(opNotEqual), get(0), op(opAdd), set(0))
	return raw{imports: []wasiFunction{fdWrite()}, pages: 1, table: true, functions: []rawFunction{{
		locals: 1, code: join(bytes.Repeat(grow, 60), print(get(0))),
	}}}.wasm()
}

// spinning loops for ever.
func spinning() []byte {
	return raw{functions: []rawFunction{{code: endless()}}}.wasm()
}

// exploding makes 2^60 calls without a loop.
func exploding() []byte {
	var functions []rawFunction
	for i := range uint64(60) {
		functions = append(functions, rawFunction{code: join(call(i+1), call(i+1))})
	}
	return raw{functions: append(functions, rawFunction{})}.wasm()
}

// recursing calls itself without end.
func recursing() []byte {
	return raw{functions: []rawFunction{{code: call(0)}}}.wasm()
}

// guessing asks for a GiB of randomness in one call.
func guessing() []byte {
	return raw{imports: []wasiFunction{randomGet()}, pages: 1 << 14, functions: []rawFunction{{
		code: join(number(0), number(1<<30), call(0), op(opDrop)),
	}}}.wasm()
}

// copying copies 64 MiB for ever.
func copying() []byte {
	return raw{pages: 1 << 10, functions: []rawFunction{{
		code: endless(number(0), number(1), number(64<<20-1), op(opBulk, bulkCopy, 0, 0)),
	}}}.wasm()
}

// manyLocals has so many locals, half of which live across a branch of their
// own. With 40,000 of them it is 250 KB.
func manyLocals(locals uint64) []byte {
	var code []byte
	for i := range locals / 2 {
		code = append(code, join(get(i), op(opIf, typeNone), get(i), set(i+1), op(opEnd))...)
	}
	return raw{functions: []rawFunction{{locals: locals, code: code}}}.wasm()
}

// deepBlocks nests 50,000 blocks.
func deepBlocks() []byte {
	const depth = 50_000
	return raw{functions: []rawFunction{{code: join(bytes.Repeat(op(opBlock, typeNone), depth), bytes.Repeat(op(opEnd), depth))}}}.wasm()
}

// manyFrames is 1000 functions with 50,000 locals each.
func manyFrames() []byte {
	return raw{functions: slices.Repeat([]rawFunction{{locals: 50_000, code: join(get(0), set(49_999))}}, 1000)}.wasm()
}
