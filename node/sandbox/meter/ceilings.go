package meter

import "fmt"

// Ceilings bound what a module may have, so that neither this package nor a
// compiler behind it works for long, or in much memory, on a small file. All
// are inclusive, and 0 allows none.
type Ceilings struct {
	Bytes      uint64 // of the module
	Functions  uint64 // of the module, imported ones included
	Parameters uint64 // of one function or block, and as many results
	Locals     uint64 // of one function, parameters included
	AllLocals  uint64 // of all functions together, each with all globals of the module
	Body       uint64 // bytes of one function's code
	Nesting    uint64 // blocks within blocks in one function
	Stack      uint64 // values on the operand stack of one function
	Merges     uint64 // of one function: its branches, with what lives across each (flow.go)
	AllMerges  uint64 // of all functions together
	Elements   uint64 // that all tables together may come to have
}

// Default returns the ceilings of the deterministic profile. What has been seen
// at most, in clang (75 MB), esbuild and CPython, is: 133,398 functions, 188
// locals of one and 774,499 of all, a body of 318,398 bytes, 92 operands, and
// 1,453,216 merges of one and 114,469,942 of all. The worst function that was
// found within these ceilings took the engine's compiler 4 s and 600 MB.
func Default() Ceilings {
	return Ceilings{
		Bytes:      128 << 20,
		Functions:  1 << 20,
		Parameters: 256,
		Locals:     5_000,
		AllLocals:  16 << 20,
		Body:       1 << 20,
		Nesting:    5_000,
		Stack:      5_000,
		Merges:     8 << 20,
		AllMerges:  192 << 20,
		Elements:   1 << 20,
	}
}

// entries bounds the sections that cost memory or time for each entry when they
// are read, compiled or instantiated. Real modules have less than a tenth:
// nobody need choose these.
var entries = [sections]struct {
	what string
	most uint64
}{
	sectionType:    {"the types of the module", 1 << 14},
	sectionImport:  {"the imports of the module", 1 << 12},
	sectionTable:   {"the tables of the module", 1 << 10},
	sectionGlobal:  {"the globals of the module", 1 << 14},
	sectionExport:  {"the exports of the module", 1 << 16},
	sectionElement: {"the element segments of the module", 1 << 14},
	sectionData:    {"the data segments of the module", 1 << 20}, // Go's linker makes tens of thousands
}

const (
	// mostElements bounds the entries of all element segments together.
	mostElements = 1 << 21
	// mostReloads bounds the globals of a module times the calls of one function,
	// and mostAllReloads those of all: after each call compiled code has the
	// mutable globals read again. In clang there are 1,429,434 of all.
	mostReloads    = 1 << 20
	mostAllReloads = 16 << 20
	// mostPassed bounds the parameters and results of the calls and branches of
	// one function, and mostAllPassed those of all: each is several instructions
	// of compiled code. In clang there are 33,020 of one and some 4.3 million of all.
	mostPassed    = 1 << 18
	mostAllPassed = 16 << 20
)

// CeilingError tells which ceiling a module exceeds.
type CeilingError struct {
	What           string // "the locals of one function"
	Value, Ceiling uint64
}

func (e *CeilingError) Error() string {
	return fmt.Sprintf("%s are %d, the ceiling is %d", e.What, e.Value, e.Ceiling)
}

// within reports a value that exceeds its ceiling as the cursor's error.
func (r *cursor) within(what string, value, ceiling uint64) {
	if value > ceiling && r.err == nil {
		r.err = &CeilingError{What: what, Value: value, Ceiling: ceiling}
		r.at = len(r.b)
	}
}
