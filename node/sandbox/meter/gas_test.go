package meter

import (
	"strings"
	"testing"
)

// gasModule has a memory, two tables, a segment of each kind, and a function f,
// index 2, with the body. Function 0 is the host's, 1 returns its operand.
func gasModule(sign, locals string, body ...any) []byte {
	a := newAssembly()
	a.importFunction("env", "host", "i>i")
	a.memories = [][]byte{{1, 1, 5}}
	a.tables = [][]byte{{typeFuncref, 1, 4, 20}, {typeExternref, 1, 4, 20}}
	a.data = [][]byte{cat(1, "a passive segment of 31 bytes..")}
	a.dataCount = true
	a.function("i>i", "", get(0))
	a.elements = [][]byte{cat(0, i32(0), opEnd, leb(2), 1, 1), cat(1, 0, leb(2), 1, 1)}
	a.export("memory", KindMemory, 0)
	a.export("f", KindFunction, a.function(sign, locals, body...))
	return a.encode()
}

func TestGasRules(t *testing.T) {
	zero := i32(0)
	drop := opDrop
	cases := []struct {
		name, sign, locals string
		body               []byte
		args               []uint64
		want               int64
	}{
		{"an empty function is free", ">", "", nil, nil, 0},
		{"nops and blocks are free", ">", "", cat(opNop, opBlock, blockEmpty, opEnd, opLoop, blockEmpty, opEnd), nil, 0},
		{"each instruction costs 1", ">i", "", cat(i32(1), i32(2), 0x6a), nil, 3},
		{"each declared local costs 1", ">", "iIfFv", nil, nil, 5 * gasLocal},
		{"parameters cost nothing", "iI>", "", nil, []uint64{1, 2}, 0},
		{"integers divide slowly", ">i", "", cat(i32(7), i32(2), 0x6d), nil, 2 + gasDivide},
		{"floats divide slowly", "F>F", "", cat(get(0), get(0), 0xa3), []uint64{0}, 2 + gasDivideFloat},
		{"roots are slow", "F>F", "", cat(get(0), 0x9f), []uint64{0}, 1 + gasRoot},
		{"vectors cost more", "I>I", "", cat(get(0), opVector, 18, opVector, 29, 0), []uint64{0}, 1 + 2*gasVector},
		{"the branch that is taken is paid", "i>i", "", cat(get(0), opIf, typeI32, i32(1), opElse, i32(1), i32(2), 0x6a, opEnd), []uint64{1}, 2 + 1},
		{"the else that is taken is paid", "i>i", "", cat(get(0), opIf, typeI32, i32(1), opElse, i32(1), i32(2), 0x6a, opEnd), []uint64{0}, 2 + 3},
		{"an if without else may skip", "i>", "", cat(get(0), opIf, blockEmpty, zero, drop, opEnd, zero, drop), []uint64{0}, 2 + 2},
		{"code behind a branch is not paid", ">", "", cat(opBlock, blockEmpty, opBr, 0, zero, drop, opEnd), nil, 1},
		{"code behind a return is not paid", ">", "", cat(opReturn, zero, drop), nil, 1},
		{"a conditional branch that stays", "i>", "", cat(opBlock, blockEmpty, get(0), opBrIf, 0, zero, drop, opEnd, zero, drop), []uint64{0}, 2 + 2 + 2},
		{"a conditional branch that leaves", "i>", "", cat(opBlock, blockEmpty, get(0), opBrIf, 0, zero, drop, opEnd, zero, drop), []uint64{1}, 2 + 2},
		{"a branch to the function's end", "i>", "", cat(get(0), opBrIf, 0, zero, drop), []uint64{1}, 2},
		{"a table of branches", "i>", "", cat(opBlock, blockEmpty, get(0), opBrTable, 1, 1, 0, opEnd, zero, drop), []uint64{1}, 1 + gasTable + 2},
		{"ten rounds of a loop", ">", "i", cat(opLoop, blockEmpty, get(0), i32(1), 0x6a, tee(0), i32(10), 0x49, opBrIf, 0, opEnd), nil, 1 + 10*7},
		{"a call", ">i", "", cat(i32(1), call(1)), nil, 1 + gasCall + 1},
		{"an indirect call", ">i", "", cat(i32(1), i32(0), opCallIndirect, 0, 0), nil, 2 + gasCallIndirect + 1},
		{"the host charges by itself", ">i", "", cat(i32(1), call(0), call(0)), nil, 1 + 2*gasCall + 2*7},
		{"the host charges before a branch", "i>i", "", cat(get(0), call(0), opIf, typeI32, zero, opElse, zero, call(0), opEnd), []uint64{0}, 1 + gasCall + 7 + 1 + 1 + gasCall + 7},
		{"copying 100 bytes", ">", "", cat(zero, zero, i32(100), opMisc, miscMemoryCopy, 0, 0), nil, 4 + 12},
		{"filling 100 bytes", ">", "", cat(zero, zero, i32(100), opMisc, miscMemoryFill, 0), nil, 4 + gasFill + 12},
		{"initialising 31 bytes", ">", "", cat(zero, zero, i32(31), opMisc, miscMemoryInit, 0, 0), nil, 4 + 3},
		{"growing by 2 pages", ">i", "", cat(i32(2), opMemoryGrow, 0), nil, 2 + gasGrow + 2*8192},
		{"growing beyond all bounds fails and costs no length", ">i", "", cat(i32(-1), opMemoryGrow, 0), nil, 2 + gasGrow},
		{"growing a table by 5", ">i", "", cat(opRefNull, typeFuncref, i32(5), opMisc, miscTableGrow, 0), nil, 3 + gasGrow + 5},
		{"growing a table beyond its maximum fails and costs no length", ">i", "", cat(opRefNull, typeFuncref, i32(21), opMisc, miscTableGrow, 0), nil, 3 + gasGrow},
		{"a reference to a function", ">", "", cat(opRefFunc, 1, opDrop), nil, gasReference + 1},
		{"filling 3 elements", ">", "", cat(zero, opRefNull, typeExternref, i32(3), opMisc, miscTableFill, 1), nil, 4 + 3},
		{"copying 3 elements", ">", "", cat(zero, zero, i32(3), opMisc, miscTableCopy, 0, 0), nil, 4 + 3},
		{"initialising 2 elements", ">", "", cat(zero, zero, i32(2), opMisc, miscTableInit, 1, 0), nil, 4 + 2},
		{"several results from a branch", "i>iI", "", cat(i32(1), i64(2), get(0), opBrIf, 0, opDrop, i64(3)), []uint64{1}, 4},
	}
	for _, c := range cases {
		for engine := range engines {
			t.Run(c.name+"/"+engine, func(t *testing.T) {
				i := instantiate(t, engine, rewrite(t, gasModule(c.sign, c.locals, c.body)))
				_, left, trap := i.run("f", budget, c.args...)
				if trap != "" || budget-left != c.want {
					t.Errorf("%d gas used, want %d; trap %q", budget-left, c.want, trap)
				}
				if d := int64(i.global(DepthGlobal).Get()); d != MaxDepth {
					t.Errorf("%d units of stack are not given back", MaxDepth-d)
				}
			})
		}
	}
}

func TestGasRunsOut(t *testing.T) {
	// Each round costs 7 and counts in memory; 2 come before.
	loop := cat(i32(1), set(0), opLoop, blockEmpty, i32(0), i32(0), 0x28, 2, 0, i32(1), 0x6a, 0x36, 2, 0, opBr, 0, opEnd)
	calls := cat(i32(0), i32(0), 0x28, 2, 0, i32(1), 0x6a, 0x36, 2, 0, call(2), call(2))
	cases := []struct {
		name   string
		wasm   []byte
		gas    int64
		rounds uint32 // that begin
		left   int64
	}{
		{"before the first round", gasModule(">", "i", loop), 2 + 1 + 6, 0, -1},
		{"at its end", gasModule(">", "i", loop), 2 + 1 + 7, 1, -7},
		{"in the second", gasModule(">", "i", loop), 2 + 1 + 13, 1, -1},
		{"after a thousand", gasModule(">", "i", loop), 2 + 1 + 7000, 1000, -7},
		{"nothing to begin with", gasModule(">", "i", loop), 0, 0, -10},
		{"calls without a loop", gasModule(">", "", calls), 100 * (6 + 2*gasCall), 100, -(6 + 2*gasCall)},
		{"a fill that is too long", gasModule(">", "", i32(0), i32(1), i32(800), opMisc, miscMemoryFill, 0), 100 + gasFill, 0, -4},
		{"a long function without loops", gasModule(">", "", repeat(cat(i32(0), opDrop), 200), i32(0), i32(1), 0x36, 2, 0), 100, 0, 100 - 403},
	}
	for _, c := range cases {
		for engine := range engines {
			t.Run(c.name+"/"+engine, func(t *testing.T) {
				i := instantiate(t, engine, rewrite(t, c.wasm))
				_, left, trap := i.run("f", c.gas)
				rounds, _ := i.Memory().ReadUint32Le(0)
				if rounds != c.rounds || left != c.left || trap != "wasm error: unreachable" {
					t.Errorf("%d rounds and %d left, want %d and %d; trap %q", rounds, left, c.rounds, c.left, trap)
				}
			})
		}
	}
}

func TestLargeFramesCostGas(t *testing.T) {
	// What makes the frame large never runs.
	all := repeat(cat(i32(0), repeat(cat(i32(0), 0x29, 3, 0), 40), repeat(cat(opI64Add), 39), 0x37, 3, 0), 100)
	i := instantiate(t, "compiler", rewrite(t, gasModule("i>", "", get(0), opIf, blockEmpty, all, i32(0), call(2), opEnd)))
	_, left, trap := i.run("f", budget, 0)
	if used, least := budget-left, int64(100*34*depthSet/depthPerGas); used < least || trap != "" {
		t.Errorf("%d gas used, want %d or more; trap %q", used, least, trap)
	}
}

func TestGasAfterTraps(t *testing.T) {
	// Each round costs 5, and 3 come before.
	rounds := cat(i32(100), set(0), opLoop, blockEmpty, get(0), i32(-1), 0x6a, tee(0), opBrIf, 0, opEnd)
	cases := []struct {
		name string
		body []byte
		want int64
	}{
		{"unreachable", cat(opUnreachable), gasLocal + 1},
		{"unreachable after a loop", cat(rounds, i32(0), opDrop, opUnreachable), 3 + 500 + 3},
		{"unreachable after a call", cat(i32(0), call(0), opDrop, opUnreachable), gasLocal + 1 + gasCall + 2 + 7},
		{"another trap after a loop", cat(rounds, i32(-1), 0x28, 2, 0, opDrop), 3 + 500},
	}
	for _, c := range cases {
		for engine := range engines {
			i := instantiate(t, engine, rewrite(t, gasModule(">", "i", c.body)))
			_, left, trap := i.run("f", budget)
			if used := budget - left; used != c.want || trap == "" {
				t.Errorf("%s, %s: %d gas used, want %d; trap %q", c.name, engine, used, c.want, trap)
			}
		}
	}
}

func TestCallsNestTooDeeply(t *testing.T) {
	wide := strings.Repeat("i", 200)
	loads := func(n, from int, load byte) []byte {
		var all []byte
		for k := range n {
			all = append(all, cat(i32(8*(k+from)), load, 3, 0)...)
		}
		return all
	}
	// sums adds up n loaded operands again and again, which the slots of the engine's
	// frames add up for.
	sums := func(n, rounds int, load, add, store byte) []byte {
		var all []byte
		for r := range rounds {
			all = append(all, cat(i32(8*r), loads(n, r, load), repeat(cat(add), n-1), store, 3, 0)...)
		}
		return all
	}
	// blocks leaves n values of each block, which come from a branch or its end.
	blocks := func(n int) []byte {
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		block := cat(opBlock, sleb(int64(a.typeOf(">"+strings.Repeat("I", n)))), loads(n, 0, 0x29), get(0), opBrIf, 0,
			repeat(cat(opDrop), n), loads(n, 1, 0x29), opEnd, repeat(cat(opDrop), n))
		a.export("f", KindFunction, a.function("i>i", "", repeat(block, 200), get(0), call(0)))
		return a.encode()
	}
	// results calls a function of n results again and again.
	results := func(n int) []byte {
		a := newAssembly()
		a.memories = [][]byte{{0, 1}}
		var params, numbers []byte
		for k := range n {
			params, numbers = append(params, get(k)...), append(numbers, i32(k)...)
		}
		many := strings.Repeat("i", n)
		g := a.function(many+">"+many, "", params)
		a.export("f", KindFunction, a.function("i>i", "", numbers, repeat(call(g), 300), repeat(cat(opDrop), n), get(0), call(g+1)))
		return a.encode()
	}
	// globals adds up more globals than there are registers, twice after each call.
	globals := func() []byte {
		a := newAssembly()
		a.importFunction("env", "host", "i>i")
		a.memories = [][]byte{{0, 1}}
		sum := cat(i32(0), i64(0))
		for x := range 40 {
			a.globals = append(a.globals, cat(typeI64, 1, i64(0), opEnd))
			sum = append(sum, cat(opGlobalGet, x, opI64Add)...)
		}
		sum = append(sum, cat(0x37, 3, 0)...)
		a.export("f", KindFunction, a.function("i>i", "", repeat(cat(i32(0), call(0), opDrop, sum, sum), 100), get(0), call(1)))
		return a.encode()
	}
	// joins sets locals deep within branches, all of which are other values after
	// each of them.
	joins := func(depth int) []byte {
		var sets, sum []byte
		for x := 1; x <= 30; x++ {
			sets = append(sets, cat(get(x), get(0), 0xac, opI64Add, set(x))...)
			sum = append(sum, cat(get(x), opI64Add)...)
		}
		for range depth {
			sets = cat(get(0), opIf, blockEmpty, sets, opEnd)
		}
		return gasModule("i>i", strings.Repeat("I", 30), sets, get(0), call(2), opDrop, sets, i64(0), sum, 0xa7)
	}
	cases := map[string][]byte{
		"set within some branches":   joins(10),
		"set within many branches":   joins(200),
		"many globals":               globals(),
		"small frames":               gasModule(">", "", call(2)),
		"many locals":                gasModule(">", wide, call(2)),
		"many vectors":               gasModule("v>v", "v", get(0), opVector, 77, tee(1), call(2), get(1), opVector, 80, get(0), opVector, 80),
		"many results":               gasModule(">"+wide, "", call(2)),
		"sums of calls":              gasModule("i>i", "", get(0), call(2), repeat(cat(get(0), call(2), 0x6a), 300)),
		"many set i64s":              gasModule("i>i", "I", repeat(cat(get(1), get(0), call(2), 0xac, opI64Add, set(1)), 2000), get(1), 0xa7),
		"many set f64s":              gasModule("i>i", "F", repeat(cat(get(1), get(0), call(2), 0xb7, opF64Add, set(1)), 2000), get(1), 0xaa),
		"many set v128s":             gasModule("i>i", "v", repeat(cat(get(1), get(0), call(2), opVector, 17, get(1), opVector, leb(0xae), set(1), opDrop), 2000), get(1), opVector, 27, 0),
		"set, then called":           gasModule("i>i", "IIIIIIII", repeat(cat(get(1), get(0), 0xac, opI64Add, set(1), get(2), get(1), opI64Add, set(2), get(3), get(2), opI64Add, set(3), get(0), call(2), opDrop), 700), get(1), get(2), opI64Add, get(3), opI64Add, 0xa7),
		"set under pressure":         setsUnderPressure("I", 20, 300, []byte{opI64Add}, 0xa7),
		"vectors set under pressure": setsUnderPressure("v", 24, 200, cat(opVector, leb(0xae)), opVector, 27, 0),
		"many operands":              gasModule("i>i", "", sums(40, 300, 0x29, opI64Add, 0x37), get(0), call(2)),
		"less operands":              gasModule("i>i", "", sums(20, 300, 0x29, opI64Add, 0x37), get(0), call(2)),
		"many operands, stored":      gasModule("i>i", "", sums(40, 300, opF64Load, opF64Add, opF64Store), get(0), call(2)),
		"results of many calls":      results(255),
		"results of many blocks":     blocks(40),
		"few results of many blocks": blocks(6),
		"many merges":                gasModule("i>i", "ii", repeat(cat(get(0), opIf, blockEmpty, get(1), i32(1), 0x6a, set(1), get(2), i32(2), 0x6c, set(2), opEnd, get(0), call(2), opDrop), 200), get(1), get(2), 0x6a),
	}
	for name, wasm := range cases {
		t.Run(name, func(t *testing.T) {
			i := instantiate(t, "compiler", rewrite(t, wasm))
			args := make([]uint64, i.words("f"))
			_, left, trap := i.run("f", budget, args...)
			if d := int64(i.global(DepthGlobal).Get()); d >= 0 || left < 0 || trap != "wasm error: unreachable" {
				t.Errorf("%d units of stack and %d gas are left; trap %q", d, left, trap)
			}
		})
	}
}

// setsUnderPressure recurses with more locals alive than there are registers,
// each set again and again to a sum of two.
func setsUnderPressure(kind string, locals, rounds int, add []byte, toI32 ...any) []byte {
	first := cat(0xac) // from an i32
	if kind == "v" {
		first = cat(opVector, 17)
	}
	var body []byte
	for k := 1; k <= locals; k++ {
		body = append(body, cat(get(0), first, set(k))...)
	}
	for range rounds {
		for k := 1; k <= locals; k++ {
			body = append(body, cat(get(k), get(1+(k+7)%locals), add, set(k))...)
		}
	}
	body = append(body, cat(get(0), call(2), opDrop, get(1))...)
	for k := 2; k <= locals; k++ {
		body = append(body, cat(get(k), add)...)
	}
	return gasModule("i>i", strings.Repeat(kind, locals), body, cat(toI32...))
}

func TestStartFunctionOnlyRunsWhenCalled(t *testing.T) {
	a := newAssembly()
	a.memories = [][]byte{{0, 1}}
	a.export("memory", KindMemory, 0)
	a.start = a.function(">", "", i32(0), i32(7), 0x36, 2, 0)
	a.export("_start", KindFunction, a.function(">", ""))
	m, err := Rewrite(a.encode(), Default())
	if err != nil {
		t.Fatal(err)
	}
	if !m.Start || !m.Entry || m.MemoryBytes != pageSize {
		t.Errorf("Start %v, Entry %v, MemoryBytes %d", m.Start, m.Entry, m.MemoryBytes)
	}
	i := instantiate(t, "compiler", m.Wasm)
	if v, _ := i.Memory().ReadUint32Le(0); v != 0 {
		t.Error("the start function ran by itself")
	}
	if _, left, _ := i.run(StartExport, 100); left != 97 {
		t.Errorf("%d gas is left, want 97", left)
	}
	if v, _ := i.Memory().ReadUint32Le(0); v != 7 {
		t.Error("the start function did not run when called")
	}
}

func repeat(b []byte, n int) []byte {
	var all []byte
	for range n {
		all = append(all, b...)
	}
	return all
}
