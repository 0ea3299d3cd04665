package sandbox

import (
	"errors"

	"github.com/spare-network/spare/node/sandbox/wasi"
)

// engine executes metered modules. It gives a guest nothing but memory and
// instructions: gas, stack depth and NaNs are in the module itself, and the
// world outside is package wasi's, so that every engine gives equal results.
type engine interface {
	// name tells everything besides the module that decides what code is like.
	name() string
	// compile checks wasm and leaves in dir what load needs beside it. An
	// error that is about the module is a [*protocol.Error].
	compile(wasm []byte, dir string) error
	// load makes a program that runs in at most limit bytes of linear memory.
	// It fails with errStale where it would have to compile.
	load(wasm []byte, dir string, limit uint64, w *wasi.World) (program, error)
}

// program is a loaded module. It serves one run at a time.
type program interface {
	// run runs a fresh instance, which is paid for, to its end.
	run(gas int64) ending
	// left is how much gas the instance that runs has left, about, and false
	// when none runs or the engine cannot tell. Another goroutine may call it
	// meanwhile.
	left() (int64, bool)
}

// ending is how a run ended.
type ending struct {
	err   error // nil: _start returned; *wasi.Exit; what a host call ended it with; else a trap
	gas   int64 // left; negative: it ran out
	depth int64 // units of stack left; negative: calls were nested too deeply
}

// errStale means that the compiled code given is not what this engine, on this
// processor, would look for.
var errStale = errors.New("the compiled code does not fit this engine and processor")

// engines lists all there are, by the names that workers are given.
func engines() map[string]engine {
	return map[string]engine{
		defaultEngineName: wazeroEngine{},
		"interpreter":     wazeroEngine{interpret: true}, // to compare with
	}
}

// defaultEngineName names the engine of a node's workers.
const defaultEngineName = "compiler"

func defaultEngine() engine { return engines()[defaultEngineName] }
