package meter

import (
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
	few := Default()
	few.Functions = 1
	small := Default()
	small.Bytes = 20

	cases := []struct {
		name, what string
		a          *assembly
		c          Ceilings
	}{
		{"1000 functions with 50,000 locals", "the locals of one function", many, Default()},
		{"5000 functions with 4,000 locals", "the locals of all functions", total, Default()},
		{"many locals and ifs", "the locals of one function times its branches", ifs, Default()},
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
