package meter

import (
	"bytes"
	"strings"
)

// Value types, and the kinds of things that have an index, of the binary format
// (https://www.w3.org/TR/wasm-core-2/#binary-format).
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
	typeAny       = 0 // of a value in unreachable code

	pageSize = 1 << 16
	maxPages = 1 << 16
)

// Sections, in the order of the binary format but for dataCount.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sections
)

var (
	magic = []byte("\x00asm\x01\x00\x00\x00")
	// order is the place of each section among the others.
	order = [sections]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}
)

// signature is a function type: its parameters' and results' value types.
type signature struct{ params, results []byte }

type table struct {
	kind             byte
	bounded          bool // has a maximum
	minimum, maximum uint32
}

type global struct {
	kind    byte
	mutable bool
}

// module is what is known of a module while its sections are read. The index
// spaces are those of the original: nothing can refer to what is injected.
type module struct {
	ceilings Ceilings
	err      error
	raw      [sections][]byte // what is copied: vectors without their count

	types     []signature
	imports   []Import
	functions []uint32 // type of each function, imported ones first
	tables    []table
	globals   []global
	elements  []byte // type of each element segment
	declared  []bool // functions that ref.func may refer to
	dataCount int    // -1 without the section
	exports   int
	importedF int // how many of the functions are imported
	importedT int
	importedG int
	memory    bool
	start     int // -1 without the section
	coded     bool
	data      int    // how many data segments
	dataBytes uint64 // of all of them
	calls     uint64 // of all functions so far
	merges    uint64
	passed    uint64
	segmented uint64 // entries of all element segments

	memoryBytes uint64
	entry       bool

	blocks map[string]uint32 // types added for blocks, by their results
	added  []byte            // these types, encoded
	code   []byte            // the new code section without its count
}

func (m *module) read(wasm []byte) {
	m.start, m.dataCount = -1, -1
	r := &cursor{b: wasm}
	if !bytes.Equal(r.bytes(uint32(len(magic))), magic) {
		r.err = nil
		r.fail("it does not start as one")
	}
	last := 0
	for r.err == nil && r.left() > 0 {
		id := r.byte()
		s := &cursor{b: r.bytes(r.u32()), err: r.err}
		if id == sectionCustom {
			s.name()
			r.err = s.err
			continue
		}
		if id >= sections || order[id] <= last {
			r.fail("a section is unknown, or not in order")
			break
		}
		last = order[id]
		m.section(int(id), s)
		if s.err == nil && s.left() > 0 {
			s.fail("a section is longer than its content")
		}
		if r.err == nil {
			r.err = s.err
		}
	}
	switch {
	case r.err != nil:
	case !m.coded && len(m.functions) > m.importedF:
		r.fail("functions have no code")
	case m.dataCount >= 0 && m.dataCount != m.data:
		r.fail("the data segments are not as many as announced")
	}
	m.err = r.err
}

func (m *module) section(id int, r *cursor) {
	switch id {
	case sectionType:
		m.vector(id, r, 3, m.readType)
	case sectionImport:
		m.vector(id, r, 4, m.readImport)
	case sectionFunction:
		m.vector(id, r, 1, func(r *cursor) { m.functions = append(m.functions, m.typeIndex(r)) })
	case sectionTable:
		m.vector(id, r, 3, m.readTable)
		m.bound(r)
	case sectionMemory:
		m.vector(id, r, 2, m.readMemory)
	case sectionGlobal:
		m.vector(id, r, 4, m.readGlobal)
	case sectionExport:
		m.readExports(r)
	case sectionStart:
		m.start = int(m.functionIndex(r))
		if t := m.typeOf(m.start, r); len(t.params)+len(t.results) > 0 {
			r.fail("the start function takes or returns values")
		}
	case sectionElement:
		m.vector(id, r, 2, m.readElement)
	case sectionDataCount:
		m.dataCount = int(r.u32())
		m.raw[id] = r.b
	case sectionCode:
		m.readCode(r)
	case sectionData:
		m.data = m.vector(id, r, 2, m.readData)
	}
	if id <= sectionFunction {
		r.within("the functions of the module", uint64(len(m.functions)), m.ceilings.Functions)
	}
}

// vector reads a section that is a vector of entries of least bytes or more,
// keeps it for the output, and returns how many there are.
func (m *module) vector(id int, r *cursor, least int, entry func(*cursor)) int {
	n := r.count(least)
	if e := entries[id]; e.most > 0 {
		r.within(e.what, uint64(n), e.most)
	}
	m.raw[id] = r.b[r.at:]
	for i := 0; i < n && r.err == nil; i++ {
		entry(r)
	}
	return n
}

func (m *module) readType(r *cursor) {
	if r.byte() != 0x60 {
		r.fail("a type is not one of a function")
	}
	m.types = append(m.types, signature{params: m.valueTypes(r), results: m.valueTypes(r)})
}

func (m *module) valueTypes(r *cursor) []byte {
	n := r.u32()
	r.within("the parameters or results of one function", uint64(n), m.ceilings.Parameters)
	b := r.bytes(n)
	for _, t := range b {
		if !isValueType(t) {
			r.fail("value type %#x", t)
		}
	}
	return b
}

func isValueType(t byte) bool { return t >= typeV128 && t <= typeI32 || isReference(t) }

func isReference(t byte) bool { return t == typeFuncref || t == typeExternref }

func (m *module) typeIndex(r *cursor) uint32 {
	t := r.u32()
	if int(t) >= len(m.types) {
		r.fail("type %d does not exist", t)
	}
	return t
}

func (m *module) functionIndex(r *cursor) uint32 {
	f := r.u32()
	if int(f) >= len(m.functions) {
		r.fail("function %d does not exist", f)
	}
	return f
}

// typeOf returns the type of a function, and an empty one after an error.
func (m *module) typeOf(function int, r *cursor) signature {
	if r.err != nil {
		return signature{}
	}
	return m.types[m.functions[function]]
}

func (m *module) readImport(r *cursor) {
	i := Import{Module: r.name(), Name: r.name(), Kind: Kind(r.byte())}
	if i.Module == "" {
		r.fail("an import names no module") // valid, but the engine refuses it
	}
	switch i.Kind {
	case KindFunction:
		m.functions = append(m.functions, m.typeIndex(r))
		t := m.typeOf(len(m.functions)-1, r)
		i.Params, i.Results = t.params, t.results
	case KindTable:
		m.readTable(r)
	case KindMemory:
		m.readMemory(r)
	case KindGlobal:
		m.readGlobalType(r)
	default:
		r.fail("import of kind %d", i.Kind)
	}
	m.imports = append(m.imports, i)
	m.importedF, m.importedT, m.importedG = len(m.functions), len(m.tables), len(m.globals)
}

func (m *module) readTable(r *cursor) {
	t := table{kind: r.byte()}
	if !isReference(t.kind) {
		r.fail("table of type %#x", t.kind)
	}
	t.minimum, t.maximum, t.bounded = r.limits()
	m.tables = append(m.tables, t)
}

// bound gives each table without a maximum one, as Go's linker leaves it: all
// may grow by an equal share of the elements that are left.
func (m *module) bound(r *cursor) {
	var most, open uint64
	for _, t := range m.tables[m.importedT:] {
		most += max(uint64(t.minimum), uint64(t.maximum))
		if !t.bounded {
			open++
		}
	}
	r.within("the elements that all tables may have", most, m.ceilings.Elements)
	if r.err != nil || open == 0 {
		return
	}
	share := uint32(min(m.ceilings.Elements-most, 1<<32-1) / open)
	for i := range m.tables[m.importedT:] {
		if t := &m.tables[m.importedT+i]; !t.bounded {
			t.maximum = t.minimum + min(share, 1<<32-1-t.minimum)
		}
	}
}

func (m *module) readMemory(r *cursor) {
	if m.memory {
		r.fail("it has two memories")
	}
	minimum, maximum, _ := r.limits()
	if max(minimum, maximum) > maxPages {
		r.fail("a memory of more than %d pages", maxPages)
	}
	m.memory, m.memoryBytes = true, uint64(minimum)*pageSize
}

func (m *module) readGlobalType(r *cursor) byte {
	g := global{kind: r.byte()}
	mutable := r.byte()
	if !isValueType(g.kind) || mutable > 1 {
		r.fail("global of type %#x, mutability %d", g.kind, mutable)
	}
	g.mutable = mutable == 1
	m.globals = append(m.globals, g)
	return g.kind
}

func (m *module) readGlobal(r *cursor) { m.constant(r, m.readGlobalType(r)) }

// constant reads a constant expression of the given type, which is of a single
// instruction.
func (m *module) constant(r *cursor, kind byte) {
	var is byte
	switch op := r.byte(); op {
	case 0x41:
		is = typeI32
		r.signed(32)
	case 0x42:
		is = typeI64
		r.signed(64)
	case 0x43:
		is = typeF32
		r.bytes(4)
	case 0x44:
		is = typeF64
		r.bytes(8)
	case 0x23:
		g := r.u32()
		if int(g) >= m.importedG || m.globals[g].mutable {
			r.fail("a constant refers to global %d, which is no imported constant", g)
		} else {
			is = m.globals[g].kind
		}
	case 0xd0:
		if is = r.byte(); !isReference(is) {
			r.fail("null of type %#x", is)
		}
	case 0xd2:
		is = typeFuncref
		m.declare(m.functionIndex(r), r)
	case 0xfd:
		is = typeV128
		if r.byte() != 12 {
			r.fail("a constant is not one")
		}
		r.bytes(16)
	default:
		r.fail("instruction %#x is not constant", op)
	}
	if r.byte() != 0x0b {
		r.fail("a constant is of more than one instruction")
	}
	if is != kind {
		r.fail("a constant of type %#x where one of type %#x is needed", is, kind)
	}
}

// declare lets ref.func refer to a function.
func (m *module) declare(function uint32, r *cursor) {
	if r.err != nil {
		return
	}
	if m.declared == nil {
		m.declared = make([]bool, len(m.functions))
	}
	m.declared[function] = true
}

func (m *module) readExports(r *cursor) {
	seen := make(map[string]struct{})
	m.exports = m.vector(sectionExport, r, 3, func(r *cursor) {
		name, kind, index := r.name(), Kind(r.byte()), r.u32()
		if _, twice := seen[name]; twice || strings.HasPrefix(name, reserved) {
			r.fail("it exports a name twice, or one that starts with %q", reserved)
		}
		seen[name] = struct{}{}
		size := 0
		switch kind {
		case KindFunction:
			size = len(m.functions)
		case KindTable:
			size = len(m.tables)
		case KindMemory:
			if m.memory {
				size = 1
			}
		case KindGlobal:
			size = len(m.globals)
		}
		if int(index) >= size {
			r.fail("it exports what does not exist: index %d of kind %d", index, kind)
		}
		if kind != KindFunction || r.err != nil {
			return
		}
		m.declare(index, r)
		t := m.typeOf(int(index), r)
		m.entry = m.entry || name == entryPoint && len(t.params)+len(t.results) == 0
	})
}

// readElement reads an element segment, whose flags are: 1 not active, 2 with a
// table's index or declarative, 4 with expressions.
func (m *module) readElement(r *cursor) {
	flags := r.u32()
	if flags > 7 {
		r.fail("element segment of kind %d", flags)
	}
	kind := byte(typeFuncref)
	target := uint32(0)
	active := flags&1 == 0
	if active {
		if flags&2 != 0 {
			target = r.u32()
		}
		m.constant(r, typeI32)
	}
	if flags&3 != 0 {
		switch kind = r.byte(); {
		case flags&4 == 0 && kind == 0:
			kind = typeFuncref
		case flags&4 == 0 || !isReference(kind):
			r.fail("element segment of type %#x", kind)
		}
	}
	if active && (int(target) >= len(m.tables) || m.tables[target].kind != kind) {
		r.fail("element segment for table %d, which does not exist or is of another type", target)
	}
	m.elements = append(m.elements, kind)
	n := r.count(1)
	m.segmented += uint64(n)
	r.within("the elements of all element segments", m.segmented, mostElements)
	for ; n > 0 && r.err == nil; n-- {
		if flags&4 == 0 {
			m.declare(m.functionIndex(r), r)
		} else {
			m.constant(r, kind)
		}
	}
}

func (m *module) readData(r *cursor) {
	flags := r.u32()
	if flags > 2 || flags == 2 && r.u32() != 0 {
		r.fail("data segment of another kind, or for another memory")
	}
	if flags != 1 {
		if !m.memory {
			r.fail("data segment without a memory")
		}
		m.constant(r, typeI32)
	}
	n := r.u32()
	r.bytes(n)
	m.dataBytes += uint64(n)
}
