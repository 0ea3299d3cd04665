package meter

import (
	"math/rand/v2"
	"strings"
)

// instr is an instruction of a generated function, with what the reference adds
// to it: gas before it, and canonical NaNs after it.
type instr struct {
	code  []byte
	gas   int
	canon shape
	bulk  int // 1+bulkUnit: the length on top of the stack is charged first
	limit uint32
}

// generator makes random valid modules that end soon. Functions call only those
// before them, loops count down, and no branch leads to a loop otherwise.
type generator struct {
	*rand.Rand
	floats    bool      // arithmetic whose NaNs may differ
	favourite string    // kinds of values
	types     *assembly // of which only the types are used
	signs     []string
	list      []generated

	// of the function that is being made
	out      []instr
	kinds    string // of locals, parameters first
	reserved int    // from here on locals count loops
	labels   []string
	room     int
	byPush   map[byte][]instrOp
}

type generated struct {
	sign   string
	locals string // declared ones
	body   []instr
}

// instrOp is an instruction of the tables.
type instrOp struct {
	prefix []byte
	op     *op
	letter string // of its operands
}

const (
	letters   = "iIfFv"
	maxTable  = 20
	hostCalls = 1
	kept      = 0x8000 // address where main keeps all results
)

var letterOf = map[byte]byte{typeI32: 'i', typeI64: 'I', typeF32: 'f', typeF64: 'F', typeV128: 'v'}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), byPush: make(map[byte][]instrOp), types: newAssembly()}
	g.floats, g.favourite = seed%3 != 0, letters
	if seed%3 == 2 {
		g.favourite = "ffFFvvi"
	}
	add := func(table *[256]op, prefix ...byte) {
		for c := range table {
			o := &table[c]
			if o.form == formNone || !g.floats && o.out != shapeNone && o.out != shapeClean {
				continue
			}
			code := append(append([]byte(nil), prefix...), byte(c))
			if len(prefix) > 0 && c >= 0x80 {
				code = append(code, 1)
			}
			var operands []byte
			for _, k := range o.pops[:o.n] {
				operands = append(operands, letterOf[k])
			}
			push := letterOf[o.push]
			g.byPush[push] = append(g.byPush[push], instrOp{code, o, string(operands)})
		}
	}
	add(plain)
	add(saturating, opMisc)
	add(vectors, opVector)
	return g
}

func (g *generator) emit(i instr) { g.out = append(g.out, i) }

func (g *generator) op(cost int, parts ...any) { g.emit(instr{code: cat(parts...), gas: cost}) }

func (g *generator) pick(s string) byte { return s[g.IntN(len(s))] }

func (g *generator) word(n int) string {
	b := make([]byte, g.IntN(n))
	for i := range b {
		b[i] = g.pick(g.favourite)
	}
	return string(b)
}

// constant pushes one, often special.
func (g *generator) constant(kind byte) {
	bits := g.Uint64()
	switch kind {
	case 'i':
		if g.IntN(2) == 0 {
			bits = uint64(g.IntN(40))
		}
		g.op(1, i32(int(int32(bits))))
	case 'I':
		g.op(1, i64(int64(bits)>>g.IntN(64)))
	case 'f':
		g.op(1, opF32Const, g.float(4))
	case 'F':
		g.op(1, opF64Const, g.float(8))
	case 'v':
		b := make([]byte, 16)
		switch g.IntN(3) {
		case 0:
			b = append(append(append(g.float(4), g.float(4)...), g.float(4)...), g.float(4)...)
		case 1:
			b = append(g.float(8), g.float(8)...)
		}
		g.op(1, opVector, vectorConst, b)
	}
}

func (g *generator) float(size int) []byte {
	b := make([]byte, size)
	switch g.IntN(5) {
	case 0: // 0
	case 1: // infinite, or a quiet NaN with other bits
		b[size-1], b[size-2] = byte(0x7f|g.IntN(2)<<7), byte(0x80|g.IntN(2)<<6)
		if size == 8 {
			b[6] = byte(0xf0 | g.IntN(2)<<3)
		}
		b[0] = byte(g.IntN(2))
	case 2: // 1 or 1.5
		b[size-1], b[size-2] = 0x3f, byte(0x80|g.IntN(2)<<6)
		if size == 8 {
			b[6] = 0xf0
		}
	default:
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		b[size-1] = b[size-1]&0x80 | 0x3f + byte(g.IntN(3))
	}
	return b
}

// address makes an i32 on the stack likely to lie within the memory.
func (g *generator) address() {
	g.expr('i', 2)
	if g.IntN(40) > 0 {
		g.op(1, i32(0xfff))
		g.op(1, 0x71)
	}
}

// expr pushes a value of a kind.
func (g *generator) expr(kind byte, deep int) {
	g.room--
	if deep <= 0 || g.room <= 0 {
		if x := g.localOf(kind); x >= 0 && g.IntN(3) > 0 {
			g.op(1, get(x))
		} else {
			g.constant(kind)
		}
		return
	}
	switch g.IntN(16) {
	case 0:
		g.constant(kind)
	case 1, 2:
		if x := g.localOf(kind); x >= 0 {
			g.op(1, get(x))
			return
		}
		g.constant(kind)
	case 3:
		if x := g.localOf(kind); x >= 0 {
			g.expr(kind, deep-1)
			if x < g.reserved {
				g.op(1, tee(x))
			}
			return
		}
		g.constant(kind)
	case 4:
		g.op(1, opGlobalGet, indexOf(letters, kind))
	case 5:
		g.expr(kind, deep-1)
		g.expr(kind, deep-1)
		g.expr('i', deep-1)
		if g.IntN(2) == 0 {
			g.op(1, opSelect)
		} else {
			g.op(1, opSelectTyped, 1, kindByLetter(kind))
		}
	case 6:
		g.block(string(kind), deep)
	case 7:
		g.callFor(kind, deep)
	default:
		ops := g.byPush[kind]
		i := ops[g.IntN(len(ops))]
		for i.op.out == shapeNone && g.IntN(4) > 0 && len(g.favourite) > len(letters) {
			i = ops[g.IntN(len(ops))] // more arithmetic
			if kind == 'i' || kind == 'I' {
				break
			}
		}
		for i.traps() && g.IntN(30) > 0 {
			i = ops[g.IntN(len(ops))]
		}
		g.plain(i, deep)
	}
}

// traps tells of divisions and conversions that often do.
func (i instrOp) traps() bool {
	return len(i.prefix) == 1 && (i.op.gas == gasDivide || i.prefix[0] >= 0xa8 && i.prefix[0] <= 0xb1)
}

func (g *generator) plain(i instrOp, deep int) {
	memory := i.op.form == formMemory || i.op.form == formLaneMem
	for n := range len(i.letter) {
		if memory && n == 0 {
			g.address()
		} else {
			g.expr(i.letter[n], deep-1)
		}
	}
	code := append([]byte(nil), i.prefix...)
	if memory {
		code = append(code, byte(g.IntN(int(i.op.max)+1)), byte(g.IntN(64)))
	}
	if i.op.lane > 0 {
		code = append(code, byte(g.IntN(int(i.op.lane))))
	}
	canon := i.op.out
	if canon == shapeClean {
		canon = shapeNone
	}
	g.emit(instr{code: code, gas: int(i.op.gas), canon: canon})
}

func indexOf(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

func (g *generator) localOf(kind byte) int {
	var of []int
	for i := range g.reserved {
		if g.kinds[i] == kind {
			of = append(of, i)
		}
	}
	if len(of) == 0 {
		return -1
	}
	return of[g.IntN(len(of))]
}

// typeFor encodes the type of a block that takes params and leaves results.
func (g *generator) typeFor(params, results string) []byte {
	switch {
	case params == "" && results == "":
		return []byte{blockEmpty}
	case params == "" && len(results) == 1:
		return []byte{kindByLetter(results[0])}
	}
	return sleb(int64(g.types.typeOf(params + ">" + results)))
}

func (g *generator) exprs(kinds string, deep int) {
	for i := range len(kinds) {
		g.expr(kinds[i], deep-1)
	}
}

// block leaves values of kinds, from a block, if or loop.
func (g *generator) block(kinds string, deep int) {
	switch g.IntN(4) {
	case 0:
		g.op(0, opBlock, g.typeFor("", kinds))
		g.labels = append(g.labels, kinds)
		g.statements(deep - 1)
		g.exprs(kinds, deep)
		g.maybeBranch()
		g.pop()
	case 1:
		g.expr('i', deep-1)
		g.op(1, opIf, g.typeFor("", kinds))
		g.labels = append(g.labels, kinds)
		g.statements(deep - 1)
		g.exprs(kinds, deep)
		g.op(0, opElse)
		g.statements(deep - 1)
		g.exprs(kinds, deep)
		g.pop()
	case 2:
		// a block with parameters
		params := g.word(3)
		g.exprs(params, deep)
		g.op(0, opBlock, g.typeFor(params, kinds))
		g.labels = append(g.labels, kinds)
		for i := len(params) - 1; i >= 0; i-- {
			g.discard(params[i])
		}
		g.exprs(kinds, deep)
		g.pop()
	case 3:
		g.loop(kinds, deep)
	}
}

func (g *generator) pop() {
	g.labels = g.labels[:len(g.labels)-1]
	g.op(0, opEnd)
}

// discard takes the value on top of the stack away.
func (g *generator) discard(kind byte) {
	if x := g.localOf(kind); x >= 0 && g.IntN(2) == 0 {
		g.op(1, set(x))
		return
	}
	g.op(1, opDrop)
}

func (g *generator) loop(kinds string, deep int) {
	counter := len(g.kinds)
	g.kinds += "i"
	g.op(1, i32(1+g.IntN(4)))
	g.op(1, set(counter))
	g.op(0, opLoop, g.typeFor("", kinds))
	g.labels = append(g.labels, "-") // no branch leads here
	g.statements(deep - 1)
	g.op(1, get(counter))
	g.op(1, i32(1))
	g.op(1, 0x6b)
	g.op(1, tee(counter))
	if g.IntN(8) > 0 {
		g.op(1, opBrIf, 0)
	} else {
		g.op(1, opDrop)
	}
	g.exprs(kinds, deep)
	g.pop()
}

// maybeBranch makes a branch to a block that wants what is on the stack, of
// which g.labels tells the innermost.
func (g *generator) maybeBranch() {
	if g.IntN(2) == 0 {
		return
	}
	kinds := g.labels[len(g.labels)-1]
	g.expr('i', 1)
	var fit []int
	for i, l := range g.labels {
		if l == kinds {
			fit = append(fit, len(g.labels)-1-i)
		}
	}
	to := fit[g.IntN(len(fit))]
	switch g.IntN(3) {
	case 0:
		g.op(1, opBrIf, leb(to))
	case 1:
		g.op(gasTable, opBrTable, leb(2), leb(fit[g.IntN(len(fit))]), leb(to), leb(fit[0]))
		g.dead(kinds)
	case 2:
		g.op(1, opDrop)
		g.op(1, opBr, leb(to))
		g.dead(kinds)
	}
}

// dead makes unreachable code that leaves kinds.
func (g *generator) dead(kinds string) {
	if g.IntN(2) == 0 {
		g.op(0, 0x6a) // takes what is not there
		g.op(0, opDrop)
	}
	if g.IntN(2) == 0 {
		g.exprs(kinds, 2)
	}
}

func (g *generator) callFor(kind byte, deep int) {
	if kind == 'i' && g.IntN(3) == 0 {
		g.expr('i', deep-1)
		g.op(gasCall, call(0))
		return
	}
	for f, s := range g.signs {
		if n := len(s); s[n-1] == kind && s[n-2] == '>' {
			g.exprs(s[:n-2], deep)
			if g.IntN(2) == 0 {
				g.op(gasCall, call(hostCalls+f))
				return
			}
			g.op(1, i32(f))
			if g.IntN(20) == 0 {
				g.op(1, opDrop)
				g.expr('i', 1)
			}
			g.op(gasCallIndirect, opCallIndirect, leb(g.types.typeOf(s)), 0)
			return
		}
	}
	g.constant(kind)
}

func (g *generator) statements(deep int) {
	for range g.IntN(4) {
		g.statement(deep)
	}
}

func (g *generator) statement(deep int) {
	g.room--
	if deep <= 0 || g.room <= 0 {
		g.op(0, opNop)
		return
	}
	switch g.IntN(15) {
	case 14:
		g.stores(deep)
	case 13:
		if len(g.signs) > 0 {
			f := g.IntN(len(g.signs))
			params, results, _ := strings.Cut(g.signs[f], ">")
			g.exprs(params, deep)
			g.op(gasCall, call(hostCalls+f))
			for i := len(results) - 1; i >= 0; i-- {
				g.discard(results[i])
			}
		}
	case 0, 1, 2:
		if g.reserved > 0 {
			x := g.IntN(g.reserved)
			g.expr(g.kinds[x], deep-1)
			g.op(1, set(x))
		}
	case 3:
		x := g.IntN(len(letters))
		g.expr(letters[x], deep-1)
		g.op(1, opGlobalSet, x)
	case 4, 5:
		ops := g.byPush[0]
		g.plain(ops[g.IntN(len(ops))], deep)
	case 6:
		g.block("", deep)
	case 7:
		kinds := g.word(4)
		g.block(kinds, deep)
		for i := len(kinds) - 1; i >= 0; i-- {
			g.discard(kinds[i])
		}
	case 8:
		g.expr(g.pick(g.favourite), deep-1)
		g.op(1, opDrop)
	case 9:
		g.bulk()
	case 10:
		g.tables(deep)
	case 11:
		g.expr('i', deep-1)
		g.op(1, opIf, blockEmpty)
		g.labels = append(g.labels, "")
		g.statements(deep - 1)
		g.leave(deep)
		g.pop()
	case 12:
		g.labels = append(g.labels, "")
		g.op(0, opBlock, blockEmpty)
		g.statements(deep - 1)
		g.maybeBranch()
		g.pop()
	}
}

// leave sometimes ends the function.
func (g *generator) leave(deep int) {
	results := g.labels[0]
	switch g.IntN(12) {
	case 0, 1:
		g.exprs(results, deep)
		g.op(1, opReturn)
	case 2, 3:
		g.exprs(results, deep)
		g.op(1, opBr, leb(len(g.labels)-1))
	case 4:
		g.op(1, opUnreachable)
	}
}

func (g *generator) lengths(cost int, unit bulkUnit, limit uint32, code ...any) {
	g.emit(instr{code: cat(code...), gas: cost, bulk: 1 + int(unit), limit: limit})
}

// bulk works on parts of the memory and its segments.
func (g *generator) bulk() {
	three := func() {
		g.address()
		g.address()
		g.expr('i', 1)
		g.op(1, i32(0xff))
		g.op(1, 0x71)
	}
	switch g.IntN(6) {
	case 0:
		three()
		g.lengths(1, bulkBytes, noLimit, opMisc, miscMemoryCopy, 0, 0)
	case 1:
		three()
		g.lengths(1+gasFill, bulkBytes, noLimit, opMisc, miscMemoryFill, 0)
	case 2:
		g.address()
		g.op(1, i32(g.IntN(8)))
		g.op(1, i32(g.IntN(12)))
		g.lengths(1, bulkBytes, noLimit, opMisc, miscMemoryInit, g.IntN(2), 0)
	case 3:
		g.op(1, opMisc, miscDataDrop, 1)
	case 4:
		g.op(1, i32(g.IntN(3)))
		if g.IntN(4) == 0 {
			g.op(1, opDrop)
			g.expr('i', 1)
		}
		g.lengths(1+gasGrow, bulkPages, maxPages, opMemoryGrow, 0)
		g.op(1, opDrop)
	case 5:
		g.op(1, opMemorySize, 0)
		g.discard('i')
	}
}

// tables works on the second table, which no call uses.
func (g *generator) tables(int) {
	few := func(n int) { g.op(1, i32(g.IntN(n))) }
	switch g.IntN(9) {
	case 0:
		few(12)
		g.op(gasReference, opRefFunc, leb(hostCalls))
		g.op(1, opTableSet, 1)
	case 1:
		few(12)
		g.op(1, opTableGet, 1)
		g.op(1, opRefIsNull)
		g.discard('i')
	case 2:
		g.op(1, opRefNull, typeFuncref)
		few(4)
		g.lengths(1+gasGrow, bulkElements, maxTable, opMisc, miscTableGrow, 1)
		g.discard('i')
	case 3:
		few(8)
		g.op(gasReference, opRefFunc, leb(hostCalls))
		few(4)
		g.lengths(1, bulkElements, noLimit, opMisc, miscTableFill, 1)
	case 4:
		g.op(1, opMisc, miscTableSize, 1)
		g.discard('i')
	case 5:
		few(8)
		few(4)
		few(4)
		g.lengths(1, bulkElements, noLimit, opMisc, miscTableCopy, 1, 1)
	case 6:
		few(8)
		few(2)
		few(2)
		g.lengths(1, bulkElements, noLimit, opMisc, miscTableInit, 1, 1)
	case 7:
		g.op(1, opMisc, miscElemDrop, 1)
	case 8:
		g.op(1, opRefNull, typeExternref)
		g.op(1, opRefIsNull)
		g.discard('i')
	}
}

// generate makes the functions, of which the last one, main, calls all others
// and keeps what they return and all globals in memory.
func (g *generator) generate() {
	for range 2 + g.IntN(4) {
		sign := g.word(4) + ">" + g.word(4)
		params, results, _ := strings.Cut(sign, ">")
		g.function(sign, params, results, g.word(8), func() {
			g.statements(5)
			g.exprs(results, 5)
			g.maybeBranch()
		})
		g.signs = append(g.signs, sign)
	}
	g.function(">", "", "", letters, func() {
		at := kept
		keep := func(kind byte) {
			x := indexOf(letters, kind)
			g.op(1, set(x))
			g.op(1, i32(at))
			g.op(1, get(x))
			switch kind {
			case 'v':
				g.op(gasVector, opVector, 11, 0, 0)
			default:
				g.op(1, 0x36+x, 0, 0)
			}
			at += 16
		}
		for f, sign := range g.signs {
			params, results, _ := strings.Cut(sign, ">")
			for i := range len(params) {
				g.constant(params[i])
			}
			g.op(gasCall, call(hostCalls+f))
			for i := len(results) - 1; i >= 0; i-- {
				keep(results[i])
			}
		}
		for x := range letters {
			g.op(1, opGlobalGet, x)
			keep(letters[x])
		}
	})
}

func (g *generator) function(sign, params, results, locals string, body func()) {
	g.kinds = params + locals
	g.reserved, g.room, g.out, g.labels = len(g.kinds), 150, nil, []string{results}
	body()
	g.list = append(g.list, generated{sign, g.kinds[len(params):], g.out})
}

// stores makes a run of stores of f64, with loads in between that may see them.
func (g *generator) stores(deep int) {
	at := func() { g.op(1, i32(8*g.IntN(6)+g.IntN(2)*g.IntN(8))) }
	load := func() {
		at()
		g.op(1, 0x2b, g.IntN(4), 0)
	}
	for range 1 + g.IntN(6) {
		if x := g.localOf('F'); x >= 0 && g.IntN(3) == 0 {
			load()
			g.op(1, set(x))
		}
		at()
		switch g.IntN(6) {
		case 0:
			g.expr('F', deep-2)
		case 1:
			load()
		default:
			load()
			if g.IntN(3) == 0 {
				g.constant('F')
			} else {
				g.expr('F', 1)
			}
			if !g.floats {
				g.op(1, 0xa6)
			} else {
				g.emit(instr{code: []byte{byte(0xa0 + g.IntN(3))}, gas: 1, canon: shapeF64})
			}
		}
		g.op(1, opF64Store, g.IntN(4), 0)
	}
}
