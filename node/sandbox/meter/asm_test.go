package meter

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// assembly is a module to be encoded. Its parts are encoded entries of the
// sections, in order of their index.
type assembly struct {
	types, imports, funcs, tables, memories, globals, exports, elements, codes, data [][]byte

	start     int // -1: none
	dataCount bool
}

func newAssembly() *assembly { return &assembly{start: -1} }

func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case byte:
			b = append(b, p)
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, name(p)...)
		default:
			panic(p)
		}
	}
	return b
}

func name(s string) []byte { return append(leb(len(s)), s...) }
func leb(n int) []byte     { return binary.AppendUvarint(nil, uint64(n)) }
func sleb(n int64) []byte  { return appendSigned(nil, n) }
func i32(n int) []byte     { return cat(opI32Const, sleb(int64(int32(n)))) }
func i64(n int64) []byte   { return cat(opI64Const, sleb(n)) }
func get(x int) []byte     { return cat(opLocalGet, leb(x)) }
func set(x int) []byte     { return cat(opLocalSet, leb(x)) }
func tee(x int) []byte     { return cat(opLocalTee, leb(x)) }
func call(x int) []byte    { return cat(opCall, leb(x)) }

// typeOf returns the index of the type with value types such as "iI>f".
func (a *assembly) typeOf(sign string) int {
	params, results, _ := strings.Cut(sign, ">")
	enc := []byte{0x60}
	for _, s := range []string{params, results} {
		enc = append(enc, leb(len(s))...)
		for i := range len(s) {
			enc = append(enc, kindByLetter(s[i]))
		}
	}
	for i, t := range a.types {
		if string(t) == string(enc) {
			return i
		}
	}
	a.types = append(a.types, enc)
	return len(a.types) - 1
}

func kindByLetter(c byte) byte {
	return map[byte]byte{'i': typeI32, 'I': typeI64, 'f': typeF32, 'F': typeF64, 'v': typeV128, 'r': typeFuncref, 'x': typeExternref}[c]
}

// function adds one with locals such as "iiF" and returns its index. The body
// has no final end.
func (a *assembly) function(sign, locals string, body ...any) int {
	a.funcs = append(a.funcs, leb(a.typeOf(sign)))
	code := leb(len(locals))
	for i := range len(locals) {
		code = append(code, 1, kindByLetter(locals[i]))
	}
	code = append(append(code, cat(body...)...), opEnd)
	a.codes = append(a.codes, append(leb(len(code)), code...))
	return a.importedFunctions() + len(a.funcs) - 1
}

func (a *assembly) importedFunctions() int { return len(a.imports) }

func (a *assembly) importFunction(module, field, sign string) int {
	a.imports = append(a.imports, cat(module, field, 0, leb(a.typeOf(sign))))
	return len(a.imports) - 1
}

func (a *assembly) export(field string, kind Kind, index int) {
	a.exports = append(a.exports, cat(field, byte(kind), leb(index)))
}

func (a *assembly) encode() []byte {
	out := append([]byte(nil), magic...)
	vector := func(id byte, entries [][]byte) {
		if len(entries) == 0 {
			return
		}
		body := leb(len(entries))
		for _, e := range entries {
			body = append(body, e...)
		}
		out = append(append(append(out, id), leb(len(body))...), body...)
	}
	vector(sectionType, a.types)
	vector(sectionImport, a.imports)
	vector(sectionFunction, a.funcs)
	vector(sectionTable, a.tables)
	vector(sectionMemory, a.memories)
	vector(sectionGlobal, a.globals)
	vector(sectionExport, a.exports)
	if a.start >= 0 {
		out = append(out, sectionStart, byte(len(leb(a.start))))
		out = append(out, leb(a.start)...)
	}
	vector(sectionElement, a.elements)
	if a.dataCount {
		out = append(out, sectionDataCount, byte(len(leb(len(a.data)))))
		out = append(out, leb(len(a.data))...)
	}
	vector(sectionCode, a.codes)
	vector(sectionData, a.data)
	return out
}

const budget = int64(1) << 40

// instance is a metered or plain module that runs.
type instance struct {
	api.Module
	t *testing.T
}

var engines = map[string]func() wazero.RuntimeConfig{
	"compiler": wazero.NewRuntimeConfigCompiler, "interpreter": wazero.NewRuntimeConfigInterpreter,
}

// instantiate runs wasm in an engine. Its host gives env.host, which returns
// its operand and, where the module is metered, takes 7 gas.
func instantiate(t *testing.T, engine string, wasm []byte) *instance {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, engines[engine]().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { _ = rt.Close(ctx) })
	_, err := rt.NewHostModuleBuilder("env").NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
			if g, ok := m.ExportedGlobal(GasGlobal).(api.MutableGlobal); ok {
				g.Set(g.Get() - 7)
			}
		}), []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).Export("host").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		t.Fatalf("%s: %v\n%x", engine, err, wasm)
	}
	return &instance{Module: m, t: t}
}

func (i *instance) global(name string) api.MutableGlobal {
	return i.ExportedGlobal(name).(api.MutableGlobal)
}

// run calls an exported function with so much gas, and returns its results,
// what is left and its trap's reason.
func (i *instance) run(field string, gas int64, args ...uint64) (results []uint64, left int64, trap string) {
	i.t.Helper()
	i.global(GasGlobal).Set(uint64(gas))
	results, err := i.ExportedFunction(field).Call(context.Background(), args...)
	return results, int64(i.global(GasGlobal).Get()), reason(err)
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func rewrite(t *testing.T, wasm []byte) []byte {
	t.Helper()
	m, err := Rewrite(wasm, Default())
	if err != nil {
		t.Fatalf("%v\n%x", err, wasm)
	}
	return m.Wasm
}

// words is how many 64-bit words the parameters of an exported function take.
func (i *instance) words(field string) int {
	n := 0
	for _, k := range i.ExportedFunction(field).Definition().ParamTypes() {
		n++
		if k == typeV128 {
			n++
		}
	}
	return n
}
