package meter

// module encodes what was generated: as it is, or as the slow reference, which
// charges each instruction by itself and makes each NaN canonical at once.
func (g *generator) module(reference bool) []byte {
	a := newAssembly()
	a.types = append(a.types, g.types.types...)
	a.importFunction("env", "host", "i>i")
	a.dataCount = true
	a.memories = [][]byte{{1, 1, 3}}
	a.tables = [][]byte{cat(typeFuncref, 0, leb(len(g.signs))), {typeFuncref, 1, 10, maxTable}}
	zero := map[byte][]byte{'i': i32(0), 'I': i64(0), 'f': cat(opF32Const, make([]byte, 4)), 'F': cat(opF64Const, make([]byte, 8)), 'v': cat(opVector, vectorConst, make([]byte, 16))}
	for i := range letters {
		a.globals = append(a.globals, cat(kindByLetter(letters[i]), 1, zero[letters[i]], opEnd))
	}
	list := leb(len(g.signs))
	for i := range g.signs {
		list = append(list, leb(hostCalls+i)...)
	}
	a.elements = [][]byte{cat(0, i32(0), opEnd, list), cat(1, 0, leb(1), leb(hostCalls))}
	a.data = [][]byte{cat(0, i32(16), opEnd, "\x00\x01\xc0\x7f\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\xf0\x7f\x12\x34"), cat(1, "some more bytes")}
	helpers := hostCalls + len(g.list)
	for _, f := range g.list {
		declared := len(f.locals)
		var body []byte
		if reference {
			body = count(declared * gasLocal)
		}
		for _, i := range f.body {
			if reference {
				if i.bulk > 0 {
					helper := i.bulk - 1
					if i.limit == maxTable {
						helper = 3
					}
					body = append(body, call(helpers+4+helper)...)
				}
				body = append(body, count(i.gas)...)
			}
			body = append(body, i.code...)
			if reference && i.canon != shapeNone {
				body = append(body, call(helpers+int(i.canon-shapeF32))...)
			}
		}
		a.function(f.sign, f.locals, body)
	}
	a.export("main", KindFunction, helpers-1)
	a.export("memory", KindMemory, 0)
	if reference {
		a.globals = append(a.globals, cat(typeI64, 1, i64(0), opEnd))
		a.export(GasGlobal, KindGlobal, len(letters))
		g.helpers(a)
	}
	return a.encode()
}

// count takes gas from the reference's global.
func count(gas int) []byte {
	if gas == 0 {
		return nil
	}
	return cat(opGlobalGet, len(letters), i64(int64(gas)), opI64Sub, opGlobalSet, len(letters))
}

func (g *generator) helpers(a *assembly) {
	nan32, nan64 := []byte{0, 0, 0xc0, 0x7f}, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}
	scalar := func(sign string, constant []byte, ne int) {
		a.function(sign, "", get(0), get(0), ne, opIf, blockEmpty, constant, set(0), opEnd, get(0))
	}
	scalar("f>f", cat(opF32Const, nan32), 0x5c)
	scalar("F>F", cat(opF64Const, nan64), 0x62)
	vector := func(eq int, constant []byte) {
		// (x & mask) | (nan & ~mask)
		mask := cat(get(0), get(0), opVector, eq)
		a.function("v>v", "", get(0), mask, opVector, 78, opVector, vectorConst, constant, mask, opVector, 79, opVector, 80)
	}
	vector(65, cat(nan32, nan32, nan32, nan32))
	vector(71, cat(nan64, nan64))
	length := func(limit int, scale ...any) {
		body := cat(opGlobalGet, len(letters), get(0), opI64ExtendU, cat(scale...), opI64Sub, opGlobalSet, len(letters))
		if limit > 0 {
			body = cat(get(0), i32(limit), opI32LeU, opIf, blockEmpty, body, opEnd)
		}
		a.function("i>i", "", body, get(0))
	}
	length(0, i64(8), 0x80)
	length(0)
	length(maxPages, i64(8192), 0x7e)
	length(maxTable)
}
