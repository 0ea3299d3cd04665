package sandbox

import (
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestInspect(t *testing.T) {
	m, err := inspect(build{minPages: 3, extra: [][2]string{{"env", "f"}}}.wasm())
	if err != nil {
		t.Fatal(err)
	}
	if m.memory != 3*protocol.PageSize || m.start != startIndex+1 || len(m.imports) != startIndex+1 || m.imports[startIndex].name != "f" {
		t.Errorf("%+v", m)
	}
}

func FuzzInspect(f *testing.F) {
	for _, wasm := range [][]byte{
		copier(), dice(), flood(), recursion()[:200], wasmMagic, nil,
		build{minPages: 1 << 40, tables: [][]byte{openTable(1), boundedTable(2, 3)}, noStart: true}.wasm(),
		append(wasmMagic[:8:8], 2, 5, 0xff, 0xff, 0xff, 0xff, 0x0f),
		append(wasmMagic[:8:8], 1, 6, 1, 0x60, 0xff, 0xff, 0xff, 0x0f),
	} {
		f.Add(wasm)
	}
	host := map[string]signature{"fd_write": {params: "\x7f\x7f\x7f\x7f", results: "\x7f"}}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := inspect(wasm)
		if err != nil {
			if protocol.CodeOf(err) != protocol.CodeBadModule {
				t.Error(err)
			}
			return
		}
		if len(m.imports)+len(m.functions)+len(m.types) > len(wasm) {
			t.Error("more came out than went in")
		}
		if err := m.admit(host, 1<<20); err == nil && m.start < 0 {
			t.Error("admitted without an entry")
		}
		if m.most > maxElements {
			return
		}
		bounded, err := inspect(m.bound(wasm))
		if err != nil || bounded.open > 0 || bounded.most > maxElements || len(bounded.tables) != len(m.tables) {
			t.Errorf("tables without bounds: %+v, %v", bounded, err)
		}
	})
}
