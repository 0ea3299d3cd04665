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
	AllLocals  uint64 // of all functions together
	Body       uint64 // bytes of one function's code
	Nesting    uint64 // blocks within blocks in one function
	Stack      uint64 // values on the operand stack of one function
	Merges     uint64 // of one function: its locals times its branches, loops and ifs
	Elements   uint64 // that all tables together may come to have
}

// Default returns the ceilings of the deterministic profile. What has been seen
// at most, in clang (75 MB), esbuild and CPython, is: 133,398 functions, 188
// locals of one and 774,499 of all, a body of 318,398 bytes, 92 operands, and
// 486,234 merges.
func Default() Ceilings {
	return Ceilings{
		Bytes:      128 << 20,
		Functions:  1 << 20,
		Parameters: 256,
		Locals:     5_000,
		AllLocals:  16 << 20,
		Body:       4 << 20,
		Nesting:    5_000,
		Stack:      5_000,
		Merges:     16 << 20,
		Elements:   1 << 20,
	}
}

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
