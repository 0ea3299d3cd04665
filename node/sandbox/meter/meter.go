package meter

import "errors"

// Version names the instrumentation and its gas table. Whatever changes a total
// or the output changes it, and it is part of the keys of compiled code.
const Version = 3

// Names under which the metered module exports what was injected. A module that
// exports a name with the prefix "spare:" is invalid.
const (
	// GasGlobal is a mutable i64: the gas that is left. It starts with minus what
	// the instance cost to make, and the host adds what it gives before anything
	// runs. A negative value means that it ran out. It is up to date whenever
	// the host is called, and while a guest runs at the last call or loop's head.
	GasGlobal = "spare:gas"
	// DepthGlobal is a mutable i64: the units of stack that are left. It starts
	// with [MaxDepth]; a negative value means that calls nested too deeply.
	DepthGlobal = "spare:depth"
	// StartExport is the module's start function, which no longer runs by
	// itself. It is there only if the module has one.
	StartExport = "spare:start"

	reserved   = "spare:"
	entryPoint = "_start"
)

// ErrInvalid is wrapped by every error about a module that is not valid
// WebAssembly 2.0, or not of the features that are supported.
var ErrInvalid = errors.New("not a valid WebAssembly module")

// Kind is what an import gives.
type Kind byte

// The kinds of imports, as the binary format encodes them.
const (
	KindFunction Kind = iota
	KindTable
	KindMemory
	KindGlobal
)

// Import is what a module asks of its host. Params and Results are the bytes of
// the value types of a function, and empty for other kinds.
type Import struct {
	Module, Name    string
	Kind            Kind
	Params, Results []byte
}

// Module is a metered module and what its host must know of it.
type Module struct {
	Wasm        []byte // the metered module
	Imports     []Import
	MemoryBytes uint64 // minimum size of the linear memory, 0 without one
	Cost        int64  // of an instance, in gas, which is taken from what is given to it
	Entry       bool   // it exports a function _start without parameters or results
	Start       bool   // it has a StartExport
}

// Rewrite validates wasm and returns it metered. The error wraps [ErrInvalid],
// or is a [*CeilingError]. Time is linear in the module's size and in the merges
// of its functions, memory in its size and the merges of one of them.
func Rewrite(wasm []byte, c Ceilings) (*Module, error) {
	if n := uint64(len(wasm)); n > c.Bytes {
		return nil, &CeilingError{What: "the bytes of the module", Value: n, Ceiling: c.Bytes}
	}
	m := &module{ceilings: c}
	m.read(wasm)
	if m.err != nil {
		return nil, m.err
	}
	return &Module{
		Wasm: m.write(), Imports: m.imports, MemoryBytes: m.memoryBytes, Cost: m.instanceCost(),
		Entry: m.entry, Start: m.start >= 0,
	}, nil
}
