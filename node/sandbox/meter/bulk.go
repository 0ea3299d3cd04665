package meter

// memory reads the byte that stands for the memory.
func (f *body) memory() {
	if !f.m.memory || f.byte() != 0 {
		f.fail("memory is used without one, or another one than the first")
	}
}

// table reads the index of a table and returns the table. Its type must be
// kind, unless that is typeAny.
func (f *body) table(kind byte) table {
	x := f.u32()
	if int(x) >= len(f.m.tables) {
		f.fail("table %d does not exist", x)
		return table{}
	}
	t := f.m.tables[x]
	if kind != typeAny && t.kind != kind {
		f.fail("table %d is of another type", x)
	}
	return t
}

// misc does the instructions behind the prefix opMisc.
func (f *body) misc(at int) {
	code := f.u32()
	if code < uint32(len(saturating)) && saturating[code].form != formNone {
		f.simple(&saturating[code])
		return
	}
	f.gas.add(1)
	switch code {
	case miscMemoryInit:
		f.segment(f.m.dataCount)
		f.memory()
		f.bulk(at, bulkBytes)
	case miscDataDrop:
		f.segment(f.m.dataCount)
	case miscMemoryCopy:
		f.memory()
		f.memory()
		f.bulk(at, bulkBytes)
	case miscMemoryFill:
		f.memory()
		f.gas.add(gasFill)
		f.bulk(at, bulkBytes)
	case miscTableInit:
		x := f.segment(len(f.m.elements))
		if t := f.table(typeAny); f.err == nil && f.m.elements[x] != t.kind {
			f.fail("element segment %d is of another type than its table", x)
		}
		f.bulk(at, bulkElements)
	case miscElemDrop:
		f.segment(len(f.m.elements))
	case miscTableCopy:
		t := f.table(typeAny)
		f.table(t.kind)
		f.bulk(at, bulkElements)
	case miscTableGrow:
		t := f.table(typeAny)
		f.pop(typeI32)
		f.pop(t.kind)
		f.gas.add(gasGrow)
		f.charge(at, bulkElements, t.maximum)
		f.push(typeI32, mixed)
	case miscTableSize:
		f.table(typeAny)
		f.push(typeI32, mixed)
	case miscTableFill:
		t := f.table(typeAny)
		f.pop(typeI32)
		f.pop(t.kind)
		f.pop(typeI32)
		f.charge(at, bulkElements, noLimit)
	default:
		f.fail("unknown instruction %#x %d", opMisc, code)
	}
}

// segment reads the index of one of n segments.
func (f *body) segment(n int) uint32 {
	x := f.u32()
	if int64(x) >= int64(n) {
		f.fail("segment %d does not exist, or is not announced", x)
	}
	return x
}

// bulk does an operation on destination, source and length.
func (f *body) bulk(at int, unit bulkUnit) {
	f.pop(typeI32)
	f.pop(typeI32)
	f.pop(typeI32)
	f.charge(at, unit, noLimit)
}

// vector does the instructions behind the prefix opVector.
func (f *body) vector() {
	f.depth.vectors = true
	// The engine reads one byte of the opcode, and takes the second one, which
	// is 1 in the shortest encoding, for a nop: no other encoding will do.
	code := f.byte()
	if code >= 0x80 && f.byte() != 1 {
		f.fail("unknown instruction behind the prefix %#x", opVector)
	}
	switch code {
	case vectorConst:
		f.gas.add(1)
		f.push(typeV128, cleanV128(f.bytes(16)))
	case vectorShuffle:
		for _, lane := range f.bytes(16) {
			if lane >= 32 {
				f.fail("a lane does not exist")
			}
		}
		f.pop(typeV128)
		f.pop(typeV128)
		f.gas.add(gasVector)
		f.push(typeV128, mixed)
	default:
		if vectors[code].form == formNone {
			f.fail("unknown instruction %#x %d", opVector, code)
		}
		f.simple(&vectors[code])
	}
}
