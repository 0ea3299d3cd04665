package meter

import "encoding/binary"

// write puts the new module together. Custom sections are left out: they would
// describe other code.
func (m *module) write() []byte {
	size := len(magic) + len(m.code) + len(m.added) + 1<<10
	for _, raw := range m.raw {
		size += len(raw) + 16
	}
	size += 16 * len(m.tables)
	out := append(make([]byte, 0, size), magic...)
	out = m.vectorTo(out, sectionType, len(m.types)+len(m.blocks), m.raw[sectionType], m.added)
	out = m.vectorTo(out, sectionImport, len(m.imports), m.raw[sectionImport])
	out = m.vectorTo(out, sectionFunction, len(m.functions)-m.importedF, m.raw[sectionFunction])
	out = m.vectorTo(out, sectionTable, len(m.tables)-m.importedT, m.tableEntries())
	if raw := m.raw[sectionMemory]; len(raw) > 0 {
		out = m.vectorTo(out, sectionMemory, 1, raw)
	}
	out = m.vectorTo(out, sectionGlobal, len(m.globals)-m.importedG+2, m.raw[sectionGlobal], m.newGlobals())
	names, exports := m.newExports()
	out = m.vectorTo(out, sectionExport, m.exports+names, m.raw[sectionExport], exports)
	out = m.vectorTo(out, sectionElement, len(m.elements), m.raw[sectionElement])
	if m.dataCount >= 0 {
		out = sectionTo(out, sectionDataCount, m.raw[sectionDataCount])
	}
	out = m.vectorTo(out, sectionCode, len(m.functions)-m.importedF, m.code)
	return m.vectorTo(out, sectionData, m.data, m.raw[sectionData])
}

// vectorTo appends a section that is a vector of n entries, and nothing without
// any.
func (m *module) vectorTo(out []byte, id byte, n int, entries ...[]byte) []byte {
	if n == 0 {
		return out
	}
	return sectionTo(out, id, append([][]byte{binary.AppendUvarint(nil, uint64(n))}, entries...)...)
}

func sectionTo(out []byte, id byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	out = binary.AppendUvarint(append(out, id), uint64(size))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func (m *module) tableEntries() []byte {
	var b []byte
	for _, t := range m.tables[m.importedT:] {
		b = append(b, t.kind, 1)
		b = binary.AppendUvarint(b, uint64(t.minimum))
		b = binary.AppendUvarint(b, uint64(t.maximum))
	}
	return b
}

// newGlobals are the globals for gas and depth, in this order after all others.
func (m *module) newGlobals() []byte {
	b := appendSigned([]byte{typeI64, 1, opI64Const}, -m.instanceCost())
	b = append(b, opEnd, typeI64, 1, opI64Const)
	return append(appendSigned(b, MaxDepth), opEnd)
}

// instanceCost is the gas for what the engine does to make an instance. It is
// bounded by the ceilings, and far from where an i64 ends.
func (m *module) instanceCost() int64 {
	cost := costGlobal*uint64(len(m.globals)) + costElement*m.segmented +
		costSegment*uint64(len(m.elements)+m.data) + m.dataBytes>>bytesPerGasLog +
		costImport*uint64(len(m.imports)) + costTable*uint64(len(m.tables)) +
		m.memoryBytes/pageSize<<gasPerPageLog
	for _, t := range m.tables {
		cost += uint64(t.minimum)
	}
	return int64(cost)
}

func (m *module) newExports() (names int, b []byte) {
	add := func(name string, kind Kind, index int) {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(append(b, name...), byte(kind))
		b = binary.AppendUvarint(b, uint64(index))
		names++
	}
	add(GasGlobal, KindGlobal, len(m.globals))
	add(DepthGlobal, KindGlobal, len(m.globals)+1)
	if m.start >= 0 {
		add(StartExport, KindFunction, m.start)
	}
	return names, b
}

// appendSigned appends a signed LEB128.
func appendSigned(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low < 0x40 || v == -1 && low >= 0x40 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
