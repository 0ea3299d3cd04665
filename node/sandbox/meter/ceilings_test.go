package meter

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestCeilings(t *testing.T) {
	// The bombs took the engine's compiler more than a minute, or a gigabyte.
	many := newAssembly()
	for range 1000 {
		many.funcs = append(many.funcs, leb(many.typeOf(">")))
		many.codes = append(many.codes, cat(6, 1, leb(50_000), typeI32, opEnd))
	}
	total := newAssembly()
	for range 5000 {
		total.funcs = append(total.funcs, leb(total.typeOf(">")))
		total.codes = append(total.codes, cat(5, 1, leb(4_000), typeI32, opEnd))
	}
	ifs := newAssembly()
	ifs.function(">", string(repeat([]byte("i"), 4_500)), repeat(cat(i32(1), opIf, blockEmpty, i32(1), set(7), opEnd), 20_000))
	deep := newAssembly()
	deep.function(">", "", repeat(cat(opBlock, blockEmpty), 50_000), repeat(cat(opEnd), 50_000))
	operands := newAssembly()
	operands.function(">", "", repeat(cat(i32(1)), 6_000), repeat(cat(opDrop), 6_000))
	calls := newAssembly()
	calls.typeOf(">" + string(repeat([]byte("i"), 1_000)))
	tables := newAssembly()
	tables.tables = [][]byte{cat(typeFuncref, 1, leb(10), leb(1<<20)), cat(typeFuncref, 0, leb(1))}
	long := newAssembly()
	long.function(">", "", repeat(cat(opNop), 5<<20))
	functions := newAssembly()
	functions.typeOf(">")
	functions.imports = [][]byte{cat("env", "host", 0, 0), cat("env", "other", 0, 0)}
	crowd := func(n int, into func(a *assembly) *[][]byte, entry []byte) *assembly {
		a := newAssembly()
		a.tables = [][]byte{cat(typeFuncref, 0, leb(1))}
		a.memories = [][]byte{{0, 1}}
		list := into(a)
		for range n {
			*list = append(*list, entry)
		}
		return a
	}
	types := crowd(1<<14+1, func(a *assembly) *[][]byte { return &a.types }, cat(0x60, 0, 0))
	imports := crowd(1<<12+1, func(a *assembly) *[][]byte { return &a.imports }, cat("env", "g", 3, typeI32, 0))
	globals := crowd(1<<14+1, func(a *assembly) *[][]byte { return &a.globals }, cat(typeI32, 0, i32(1), opEnd))
	manyTables := crowd(1<<10, func(a *assembly) *[][]byte { return &a.tables }, cat(typeFuncref, 0, leb(1)))
	exports := newAssembly()
	exports.memories = [][]byte{{0, 1}}
	for n := range 1<<16 + 1 {
		exports.export(fmt.Sprint(n), KindMemory, 0)
	}
	elements := crowd(1<<14+1, func(a *assembly) *[][]byte { return &a.elements }, cat(1, 0, 0))
	element := crowd(2, func(a *assembly) *[][]byte { return &a.elements }, cat(5, typeFuncref, leb(1<<20+1), repeat(cat(0xd0, typeFuncref, opEnd), 1<<20+1)))
	segments := crowd(1<<20+1, func(a *assembly) *[][]byte { return &a.data }, cat(1, 0))
	// Compiled code reads all globals again after each call, and has a variable
	// for each in each function: this took the compiler 13 s for 30 KB.
	reloads := crowd(1<<14, func(a *assembly) *[][]byte { return &a.globals }, cat(typeI64, 1, i64(0), opEnd))
	reloads.function(">", "", repeat(call(0), 65))
	allReloads := crowd(1<<14, func(a *assembly) *[][]byte { return &a.globals }, cat(typeI64, 1, i64(0), opEnd))
	for range 17 {
		allReloads.function(">", "", repeat(call(0), 64))
	}
	variables := crowd(1<<14, func(a *assembly) *[][]byte { return &a.globals }, cat(typeI64, 1, i64(0), opEnd))
	for range 1100 {
		variables.function(">", "")
	}
	// Plain or metered, each of these took the compiler more than 5 s, or half a
	// gigabyte.
	one := func(sign, locals string, body ...any) *assembly {
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		a.function(sign, locals, body...)
		return a
	}
	chain := func(n int) []byte {
		return cat(opBlock, blockEmpty, repeat(cat(get(0), opBrIf, 0), n), opEnd, get(499), opDrop)
	}
	i500 := string(repeat([]byte("i"), 500))
	chains := newAssembly()
	for range 50 {
		chains.function("i>", i500, chain(600))
	}
	reads := cat(opBlock, blockEmpty, repeat(cat(get(0), opBrIf, 0), 4_000), repeat(cat(get(1), opDrop), 40_000), opEnd)
	loop := cat(opLoop, blockEmpty, get(0), opBrIf, 0, opEnd)
	access := cat(i32(64), 0x28, 2, 0, opDrop, get(0), opIf, blockEmpty, opEnd)
	values := string(repeat([]byte("i"), 255))
	passing := func(functions, n int) *assembly {
		a := newAssembly()
		for range functions {
			a.function(">"+values, "", opUnreachable, repeat(cat(call(0), repeat(cat(opDrop), 255)), n))
		}
		return a
	}
	few := Default()
	few.Functions = 1
	small := Default()
	small.Bytes = 20

	const branches = "the branches of one function, with what lives across them,"
	cases := []struct {
		name, what string
		a          *assembly
		c          Ceilings
	}{
		{"1000 functions with 50,000 locals", "the locals of one function", many, Default()},
		{"5000 functions with 4,000 locals", "the locals of all functions", total, Default()},
		{"many locals and ifs", branches, ifs, Default()},
		{"2,000 branches to one label, and locals", branches, one("i>", i500, chain(2_000)), Default()},
		{"many reads behind branches", branches, one("i>", "i", reads), Default()},
		{"20,000 ifs", branches, one("i>", "", repeat(cat(get(0), opIf, blockEmpty, opEnd), 20_000)), Default()},
		{"20,000 blocks", branches, one(">", "", repeat(cat(opBlock, blockEmpty, opEnd), 20_000)), Default()},
		{"10,000 loops", branches, one("i>", "", repeat(loop, 10_000)), Default()},
		{"10,000 ifs and loads", branches, one("i>", "", repeat(access, 10_000)), Default()},
		{"many ifs, and locals that are followed", branches, one("i>", string(repeat([]byte("F"), 4_900)), repeat(cat(get(0), opIf, blockEmpty, opEnd), 3_300)), Default()},
		{"a table of 80,000 branches", branches, one("i>", "", opBlock, blockEmpty, get(0), opBrTable, leb(80_000), make([]byte, 80_000), 0, opEnd), Default()},
		{"a table of branches with values", "the values that the calls and branches of one function pass", one("i>"+values, "", opUnreachable, opBrTable, leb(2_000), make([]byte, 2_000), 0), Default()},
		{"many branches in all", "the branches of all functions, with what lives across them,", chains, Default()},
		{"calls with many results", "the values that the calls and branches of one function pass", passing(1, 2_000), Default()},
		{"calls with many results in all", "the values that all calls and branches pass", passing(70, 1_000), Default()},
		{"50,000 nested blocks", "the blocks within blocks of one function", deep, Default()},
		{"6,000 operands", "the values on the stack of one function", operands, Default()},
		{"1,000 results", "the parameters or results of one function", calls, Default()},
		{"two large tables", "the elements that all tables may have", tables, Default()},
		{"a function of 5 MB", "the bytes of one function", long, Default()},
		{"many empty types", "the types of the module", types, Default()},
		{"many imports", "the imports of the module", imports, Default()},
		{"many globals", "the globals of the module", globals, Default()},
		{"many tables", "the tables of the module", manyTables, Default()},
		{"many exports", "the exports of the module", exports, Default()},
		{"many element segments", "the element segments of the module", elements, Default()},
		{"large element segments", "the elements of all element segments", element, Default()},
		{"many data segments", "the data segments of the module", segments, Default()},
		{"many globals and calls", "the globals of the module times the calls of one function", reloads, Default()},
		{"many globals and functions that call", "the globals of the module times its calls", allReloads, Default()},
		{"many globals and functions", "the locals of all functions", variables, Default()},
		{"two functions where one is allowed", "the functions of the module", functions, few},
		{"a module that is too long", "the bytes of the module", many, small},
	}
	for _, c := range cases {
		_, err := Rewrite(c.a.encode(), c.c)
		var exceeded *CeilingError
		if !errors.As(err, &exceeded) || exceeded.What != c.what || exceeded.Value <= exceeded.Ceiling {
			t.Errorf("%s: error %v, want one about %s", c.name, err, c.what)
		}
	}
}

// A module with many stores is taken, and what is injected for them stays in
// proportion: this one took the compiler 3 s and a gigabyte and a half.
func TestManyStoresStaySmall(t *testing.T) {
	for _, offset := range []int{0, 4} { // with runs, and without
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		a.function("iF>", "", repeat(cat(get(0), get(1), get(1), opF64Add, opF64Store, 3, offset), 6_000))
		wasm := a.encode()
		m := rewrite(t, wasm)
		if runs := bytes.Count(m, cat(opBlock, blockEmpty, opLoop, blockEmpty)); runs > mostTested/runLeast || len(m) > 4*len(wasm) {
			t.Errorf("%d runs, and %d bytes of %d", runs, len(m), len(wasm))
		}
		if branches := bytes.Count(m, cat(opF64Ge, opIf, blockEmpty, opElse)); branches > mostTested {
			t.Errorf("%d stores branch", branches)
		}
	}
}

func TestTablesGetAMaximum(t *testing.T) {
	a := newAssembly()
	a.tables = [][]byte{cat(typeFuncref, 0, leb(10)), cat(typeFuncref, 1, leb(1), leb(30)), cat(typeExternref, 0, leb(0))}
	for i := range a.tables {
		kind := byte(typeFuncref)
		if i == 2 {
			kind = typeExternref
		}
		a.export(string(rune('a'+i)), KindFunction, a.function("i>i", "", opRefNull, kind, get(0), opMisc, miscTableGrow, i))
	}
	c := Default()
	c.Elements = 100
	m, err := Rewrite(a.encode(), c)
	if err != nil {
		t.Fatal(err)
	}
	// 10 and 30 are taken; the two open tables share the other 60.
	for _, want := range []struct {
		table string
		most  uint64
	}{{"a", 30}, {"b", 29}, {"c", 30}} {
		i := instantiate(t, "compiler", m.Wasm)
		if r, _, _ := i.run(want.table, budget, want.most+1); uint32(r[0]) != 1<<32-1 {
			t.Errorf("table %s grew by %d", want.table, want.most+1)
		}
		if r, _, _ := i.run(want.table, budget, want.most); uint32(r[0]) == 1<<32-1 {
			t.Errorf("table %s did not grow by %d", want.table, want.most)
		}
	}
}
