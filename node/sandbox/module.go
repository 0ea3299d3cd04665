package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/spare-network/spare/protocol"
)

// Sections and kinds of the WebAssembly binary format
// (https://www.w3.org/TR/wasm-core-2/#binary-format).
const (
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionExport   = 7

	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3

	entryPoint = "_start"
	wasiModule = "wasi_snapshot_preview1"
)

const (
	// maxModule is the most bytes of a module; clang has 75 MB.
	maxModule = 128 << 20
	// maxElements is how many elements all tables of a module may come to have.
	// They are outside the linear memory and its limit, at 8 bytes each; clang
	// has 37 thousand.
	maxElements = 1 << 20
)

var (
	wasmMagic = []byte("\x00asm\x01\x00\x00\x00")

	errTruncated = errors.New("it ends in the middle")
)

// signature is a function type: the bytes of its parameters' and results'
// value types.
type signature struct{ params, results string }

// module is what is checked of a module before the engine sees it. The engine
// validates the rest.
type module struct {
	types     []signature
	imports   []imported
	functions []uint32 // type of each function, imported ones first
	memory    uint64   // minimum size of linear memory in bytes
	start     int      // function exported as _start, or -1

	tables []table
	before []byte // what precedes the table section
	behind []byte // what follows it
	open   uint64 // tables without a maximum
	most   uint64 // elements that the others may have, and these start with
}

type table struct {
	kind             byte
	bounded          bool // has a maximum
	minimum, maximum uint64
}

type imported struct {
	module, name string
	kind         byte
	function     signature
}

// inspect decodes the parts of a module that decide whether it may be
// compiled. It returns a [*protocol.Error] for people.
func inspect(wasm []byte) (*module, error) {
	if !bytes.HasPrefix(wasm, wasmMagic) {
		return nil, protocol.Errorf(protocol.CodeBadModule, "not a WebAssembly module").
			WithHint("give a .wasm file built for wasip1")
	}
	m := &module{start: -1}
	r := cursor{b: wasm[len(wasmMagic):]}
	for len(r.b) > 0 && r.err == nil {
		at := len(wasm) - len(r.b)
		id := r.byte()
		body := cursor{b: r.bytes(r.u32())}
		if r.err != nil {
			break
		}
		switch id {
		case sectionType:
			m.readTypes(&body)
		case sectionImport:
			m.readImports(&body)
		case sectionFunction:
			for n := body.u32(); n > 0 && body.err == nil; n-- {
				m.functions = append(m.functions, body.u32())
			}
		case sectionTable:
			if m.before != nil {
				body.err = errors.New("it has two table sections")
			}
			m.readTables(&body)
			m.before, m.behind = wasm[:at], r.b
		case sectionMemory:
			for n := body.u32(); n > 0 && body.err == nil; n-- {
				pages, _, _ := body.limits()
				m.memory = max(m.memory, pages*protocol.PageSize)
			}
		case sectionExport:
			m.readExports(&body)
		}
		r.err = body.err
	}
	if r.err != nil {
		return nil, protocol.Errorf(protocol.CodeBadModule, "not a valid WebAssembly module: %v", r.err)
	}
	return m, nil
}

// admit checks a module against what the sandbox gives: the host's functions
// by name, and the memory limit in bytes.
func (m *module) admit(host map[string]signature, limit uint64) error {
	for _, i := range m.imports {
		given, ok := host[i.name]
		if i.module != wasiModule || i.kind != kindFunction || !ok {
			return protocol.Errorf(protocol.CodeImport, "the module imports %s from %s, which no sandbox gives",
				protocol.SafeText(i.name), protocol.SafeText(i.module)).
				WithHint("build it for wasip1, without threads, sockets or JavaScript")
		}
		if given != i.function {
			return protocol.Errorf(protocol.CodeImport, "the module imports %s from %s with another signature", i.name, i.module)
		}
	}
	if m.start < 0 || m.start >= len(m.functions) {
		return protocol.Errorf(protocol.CodeBadModule, "the module exports no function _start").
			WithHint("build a command, not a library")
	}
	if t := m.functions[m.start]; int(t) >= len(m.types) || m.types[t] != (signature{}) {
		return protocol.Errorf(protocol.CodeBadModule, "the module's _start takes or returns values")
	}
	if m.most > maxElements {
		return protocol.Errorf(protocol.CodeBadModule, "the module's tables may have %d elements, no sandbox gives more than %d",
			m.most, uint64(maxElements)).WithHint("link it with a smaller maximum of its table")
	}
	if m.memory > limit {
		return protocol.Errorf(protocol.CodeMemoryLimit, "the module starts with %s of memory, the task's limit is %s",
			humanize.IBytes(m.memory), humanize.IBytes(limit)).WithHint("raise the task's memory limit")
	}
	return nil
}

// bound returns wasm, of which m is the description, with a maximum for each
// table that has none, as Go's linker leaves it: all may grow by an equal share
// of what is left.
func (m *module) bound(wasm []byte) []byte {
	if m.open == 0 {
		return wasm
	}
	share := (maxElements - m.most) / m.open
	body := binary.AppendUvarint(nil, uint64(len(m.tables)))
	for _, t := range m.tables {
		if !t.bounded {
			t.maximum = t.minimum + share
		}
		body = append(body, t.kind, 1)
		body = binary.AppendUvarint(body, t.minimum)
		body = binary.AppendUvarint(body, t.maximum)
	}
	size := binary.AppendUvarint([]byte{sectionTable}, uint64(len(body)))
	return slices.Concat(m.before, size, body, m.behind)
}

func (m *module) readTypes(r *cursor) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		if form := r.byte(); form != 0x60 && r.err == nil {
			r.err = fmt.Errorf("type of form %#x", form)
		}
		m.types = append(m.types, signature{params: string(r.bytes(r.u32())), results: string(r.bytes(r.u32()))})
	}
}

func (m *module) readImports(r *cursor) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		i := imported{module: string(r.bytes(r.u32())), name: string(r.bytes(r.u32())), kind: r.byte()}
		switch i.kind {
		case kindFunction:
			t := r.u32()
			if int64(t) >= int64(len(m.types)) && r.err == nil {
				r.err = fmt.Errorf("import of type %d", t)
			}
			if r.err == nil {
				i.function = m.types[t]
			}
			m.functions = append(m.functions, t)
		case kindTable:
			r.byte()
			r.limits()
		case kindMemory:
			r.limits()
		case kindGlobal:
			r.bytes(2)
		default:
			if r.err == nil {
				r.err = fmt.Errorf("import of kind %d", i.kind)
			}
		}
		m.imports = append(m.imports, i)
	}
}

func (m *module) readTables(r *cursor) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		t := table{kind: r.byte()}
		t.minimum, t.maximum, t.bounded = r.limits()
		if t.bounded {
			m.most += max(t.minimum, t.maximum)
		} else {
			m.open++
			m.most += t.minimum
		}
		m.tables = append(m.tables, t)
	}
}

func (m *module) readExports(r *cursor) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		name, kind, index := string(r.bytes(r.u32())), r.byte(), r.u32()
		if name == entryPoint && kind == kindFunction {
			m.start = int(index)
		}
	}
}

// cursor reads from b until the first error, and zeros after it.
type cursor struct {
	b   []byte
	err error
}

func (r *cursor) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *cursor) bytes(n uint32) []byte {
	if r.err == nil && uint64(n) > uint64(len(r.b)) {
		r.err = errTruncated
	}
	if r.err != nil {
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *cursor) u32() uint32 { return uint32(r.leb(32)) }

func (r *cursor) leb(bits int) uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if r.err != nil {
			return 0
		}
		if shift >= bits || (bits-shift < 7 && b>>(bits-shift) != 0) {
			r.err = fmt.Errorf("integer of more than %d bits", bits)
			return 0
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
}

// limits reads the limits of a memory or table.
func (r *cursor) limits() (minimum, maximum uint64, bounded bool) {
	flags := r.byte()
	minimum = r.leb(32)
	if bounded = flags&1 != 0; bounded {
		maximum = r.leb(32)
	}
	return minimum, maximum, bounded
}
