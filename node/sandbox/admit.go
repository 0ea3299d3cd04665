package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// admit checks a module before any engine sees it, and returns it metered. An
// error is a [*protocol.Error] for people: about the module when no sandbox
// would take it, E-REFUSED when only this node's ceilings are lower than the
// profile's.
func admit(wasm []byte, ceilings meter.Ceilings) (*meter.Module, error) {
	if !bytes.HasPrefix(wasm, []byte("\x00asm")) {
		return nil, protocol.Errorf(protocol.CodeBadModule, "not a WebAssembly module").
			WithHint("give a .wasm file built for wasip1")
	}
	m, err := meter.Rewrite(wasm, ceilings)
	if err != nil {
		return nil, rejection(wasm, err)
	}
	if err := checkImports(m.Imports); err != nil {
		return nil, err
	}
	if !m.Entry {
		return nil, protocol.Errorf(protocol.CodeBadModule, "the module exports no function _start without parameters and results").
			WithHint("build a command, not a library")
	}
	return m, nil
}

// checkMemory checks the size that a module's memory starts with against a
// task's limit, both in bytes.
func checkMemory(minimum, limit uint64) error {
	if minimum <= limit {
		return nil
	}
	return protocol.Errorf(protocol.CodeMemoryLimit, "the module starts with %s of memory, the task's limit is %s",
		protocol.SizeText(minimum), protocol.SizeText(limit)).WithHint("raise the task's memory limit")
}

// moduleFile is the metered module beside its compiled code: the size that its
// memory starts with and what an instance costs, 8 bytes each, little endian,
// then the WebAssembly.
const (
	moduleFile = "module"
	moduleHead = 16
)

// writeMetered leaves a metered module in dir.
func writeMetered(dir string, m *meter.Module) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, moduleHead+len(m.Wasm)), m.MemoryBytes)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Cost))
	if err := os.WriteFile(filepath.Join(dir, moduleFile), append(b, m.Wasm...), 0o600); err != nil {
		return fmt.Errorf("keep metered module: %w", err)
	}
	return nil
}

// readMetered returns what writeMetered has written: no more of the module than that.
func readMetered(dir string) (*meter.Module, error) {
	b, err := os.ReadFile(filepath.Join(dir, moduleFile))
	if err != nil || len(b) < moduleHead {
		return nil, errStale
	}
	return &meter.Module{
		Wasm: b[moduleHead:], MemoryBytes: binary.LittleEndian.Uint64(b), Cost: int64(binary.LittleEndian.Uint64(b[8:])),
	}, nil
}

// rejection says why meter refused the module.
func rejection(wasm []byte, err error) error {
	var high *meter.CeilingError
	if !errors.As(err, &high) {
		return protocol.Errorf(protocol.CodeBadModule, "%s", protocol.SafeText(err.Error()))
	}
	takes := "no sandbox takes"
	code := protocol.CodeBadModule
	if _, err := meter.Rewrite(wasm, meter.Default()); err == nil {
		takes, code = "this node takes no", protocol.CodeRefused
	}
	return protocol.Errorf(code, "the module is too large: %s are %s, %s more than %s", high.What,
		humanize.Comma(int64(high.Value)), takes, humanize.Comma(int64(high.Ceiling)))
}

// checkImports checks that a module wants nothing but what package wasi gives.
func checkImports(imports []meter.Import) error {
	given := make(map[string]wasi.Function)
	for _, f := range wasi.Functions() {
		given[f.Name] = f
	}
	for _, i := range imports {
		f, ok := given[i.Name]
		if i.Module != wasi.Module || i.Kind != meter.KindFunction || !ok {
			return protocol.Errorf(protocol.CodeImport, "the module imports %s from %s, which no sandbox gives",
				protocol.SafeText(i.Name), protocol.SafeText(i.Module)).
				WithHint("build it for wasip1, without threads, sockets or JavaScript")
		}
		if !bytes.Equal(f.Params, i.Params) || !bytes.Equal(f.Results, i.Results) {
			return protocol.Errorf(protocol.CodeImport, "the module imports %s from %s with another signature", i.Name, i.Module)
		}
	}
	return nil
}
