package meter

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// compiles tells what the engine thinks of a module, by its interpreter.
func compiles(wasm []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the engine panics")
		}
	}()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false).WithMemoryLimitPages(maxPages))
	defer func() { _ = rt.Close(ctx) }()
	_, err = rt.CompileModule(ctx, wasm)
	return err
}

// mutate changes a few bytes of a module.
func mutate(r *rand.Rand, wasm []byte) []byte {
	b := append([]byte(nil), wasm...)
	for range 1 + r.IntN(3) {
		at := 8 + r.IntN(len(b)-8)
		switch r.IntN(5) {
		case 0:
			b[at] = byte(r.Uint32())
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			b[at]++
		case 3:
			b[at], b[at-1] = b[at-1], b[at]
		case 4:
			copy(b[at:], b[8+r.IntN(len(b)-8):][:r.IntN(4)%(len(b)-at)])
		}
	}
	return b
}

// TestValidatesAsTheEngine mutates modules and expects that Rewrite accepts
// those that the engine accepts, but for known differences.
func TestValidatesAsTheEngine(t *testing.T) {
	// What the engine accepts though it is not valid.
	known := []string{
		"unknown instruction behind the prefix",      // it reads one byte of an opcode
		"select of operands of other types than one", // it does not look at the type given
		"an integer has more than",                   // it does not look at all unused bits
		"of an unknown type", "table of type",        // it knows more types, though not their features
	}
	accepted, refused := 0, 0
	for seed := range uint64(1500) {
		g := newGenerator(seed)
		g.generate()
		r := rand.New(rand.NewPCG(seed, 2))
		original := g.module(false)
		for range 4 {
			wasm := mutate(r, original)
			_, err := Rewrite(wasm, Default())
			want := compiles(wasm)
			switch {
			case err == nil && want == nil:
				accepted++
			case err != nil && want != nil:
				refused++
			case err == nil || !slices.ContainsFunc(known, func(k string) bool { return strings.Contains(err.Error(), k) }):
				t.Errorf("seed %d: Rewrite says %v, the engine %v\n%x", seed, err, want, wasm)
			}
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("%d mutants were valid and %d not", accepted, refused)
	}
}

func TestRefusesInvalidModules(t *testing.T) {
	f := func(sign, locals string, body ...any) []byte {
		a := newAssembly()
		a.function(sign, locals, body...)
		return a.encode()
	}
	exporting := func(names ...string) []byte {
		a := newAssembly()
		a.function(">", "")
		for _, n := range names {
			a.export(n, KindFunction, 0)
		}
		return a.encode()
	}
	cases := map[string][]byte{
		"nothing":                                  nil,
		"only the magic number":                    magic[:4],
		"a later version":                          []byte("\x00asm\x02\x00\x00\x00"),
		"a section that is cut":                    append(append([]byte(nil), magic...), sectionType, 5, 1),
		"a vector that promises 4 billion types":   append(append([]byte(nil), magic...), sectionType, 5, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"a reserved export":                        exporting(GasGlobal),
		"an export with the reserved prefix":       exporting("spare:other"),
		"a name that is exported twice":            exporting("a", "a"),
		"a result that is missing":                 f(">i", ""),
		"an operand of another type":               f(">i", "", i64(1)),
		"a value that is left":                     f(">", "", i32(1)),
		"the global that will be injected for gas": f(">I", "", opGlobalGet, 0),
		"a local that will be injected":            f(">", "", opLoop, blockEmpty, i32(0), opBrIf, 0, opEnd, get(0), opDrop),
		"a call of a function that is not there":   f(">", "", call(1)),
		"a label that is not there":                f(">", "", opBr, 1),
		"memory without one":                       f(">", "", opMemorySize, 0, opDrop),
		"an else without if":                       f(">", "", opElse),
		"a thread's instruction":                   f(">", "", 0xfe, 3, 0),
		"a tail call":                              f(">", "", 0x12, 0),
		"a relaxed vector instruction":             f("v>v", "", get(0), get(0), opVector, 0x80, 2),
		"an undeclared reference":                  f(">", "", opRefFunc, 0, opDrop),
		"a function that ends in the middle":       append(f(">", ""), sectionCode, 3, 1, 1, 0),
	}
	for name, wasm := range cases {
		if _, err := Rewrite(wasm, Default()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want one that is ErrInvalid", name, err)
		}
	}
}
