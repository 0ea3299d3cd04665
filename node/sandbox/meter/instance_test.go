package meter

import "testing"

func TestInstancesCostGas(t *testing.T) {
	cases := []struct {
		name string
		into func(a *assembly)
		want int64
	}{
		{"nothing", func(*assembly) {}, 0},
		{"three globals", func(a *assembly) {
			for range 3 {
				a.globals = append(a.globals, cat(typeI64, 1, i64(0), opEnd))
			}
		}, 3 * costGlobal},
		{"tables that start with 5 and 7 elements", func(a *assembly) {
			a.tables = [][]byte{cat(typeFuncref, 0, 5), cat(typeExternref, 1, 7, 9)}
		}, 2*costTable + 5 + 7},
		{"element segments, active and passive", func(a *assembly) {
			a.tables = [][]byte{cat(typeFuncref, 0, 4)}
			a.elements = [][]byte{cat(0, i32(0), opEnd, 3, 0, 0, 0), cat(1, 0, 2, 0, 0)}
		}, costTable + 4 + 2*costSegment + 5*costElement},
		{"elements that are expressions", func(a *assembly) {
			a.tables = [][]byte{cat(typeFuncref, 0, 4)}
			a.elements = [][]byte{cat(4, i32(0), opEnd, 2, 0xd2, 0, opEnd, 0xd0, typeFuncref, opEnd)}
		}, costTable + 4 + costSegment + 2*costElement},
		{"data of 100 and 60 bytes, active and passive", func(a *assembly) {
			a.memories = [][]byte{{0, 1}}
			a.data = [][]byte{cat(0, i32(0), opEnd, leb(100), make([]byte, 100)), cat(1, leb(60), make([]byte, 60))}
		}, 2*costSegment + 160/8 + 8192},
		{"a memory that starts with 3 pages", func(a *assembly) { a.memories = [][]byte{{0, 3}} }, 3 * 8192},
	}
	for _, c := range cases {
		a := newAssembly()
		a.export("f", KindFunction, a.function(">", "", i32(1), opDrop))
		c.into(a)
		for engine := range engines {
			m, err := Rewrite(a.encode(), Default())
			if err != nil {
				t.Fatal(err)
			}
			i := instantiate(t, engine, m.Wasm)
			if m.Cost != c.want {
				t.Errorf("%s: Cost is %d, want %d", c.name, m.Cost, c.want)
			}
			if cost := -int64(i.global(GasGlobal).Get()); cost != c.want {
				t.Errorf("%s, %s: an instance costs %d, want %d", c.name, engine, cost, c.want)
			}
		}
	}
}

func TestInstanceThatCostsTooMuchRunsNothing(t *testing.T) {
	a := newAssembly()
	a.memories = [][]byte{{0, 1}}
	a.export("memory", KindMemory, 0)
	a.globals = [][]byte{cat(typeI64, 1, i64(0), opEnd)}
	a.export("f", KindFunction, a.function(">", "", opLoop, blockEmpty, i32(0), i32(1), 0x36, 2, 0, i32(1), opBrIf, 0, opEnd))
	for engine := range engines {
		i := instantiate(t, engine, rewrite(t, a.encode()))
		given := int64(costGlobal) + 8192 - 1
		_, left, trap := i.run("f", int64(i.global(GasGlobal).Get())+given)
		if v, _ := i.Memory().ReadUint32Le(0); v != 0 || left >= 0 || trap != "wasm error: unreachable" {
			t.Errorf("%s: wrote %d, %d gas is left, trap %q", engine, v, left, trap)
		}
	}
}
