package meter

// value is an operand on the abstract stack.
type value struct {
	address address // of an i32
	from    producer
	kind    byte // typeAny in unreachable code
}

// frame is a block, loop, if or the function itself.
type frame struct {
	op              byte // opBlock also for the function
	unreachable     bool // the rest of it cannot be reached, and its stack has any type
	deadBefore      bool // it is never entered
	thenDead        bool // the end of the then-branch is never reached
	targeted        bool // a branch leads to its label
	params, results []byte
	height          int   // of the stack below its parameters
	sets            int   // of locals before it
	head            int   // of a loop, its charge
	fork            int   // of an if; of a block, where the only branch to its label is; or -1
	table           int   // the br_table that looked at it last
	merges          int32 // of the locals at its label, -1 if none
	line, path      int   // where it began
	ways            ways
}

func (f *frame) label() []byte {
	if f.op == opLoop {
		return f.params
	}
	return f.results
}

// body is one function while it is validated and measured. It is used again
// for the next one.
type body struct {
	cursor
	m    *module
	sign signature

	kinds  []byte // of locals, parameters first
	groups int    // of declared locals, as encoded
	code   int    // where the instructions start

	stack  []value
	floor  int // height of the innermost frame
	frames []frame

	gas   gas
	depth depth
	nan   nan
	runs  runs
	edits []edit

	flow   flow
	used   []int // of each global: the number of the function that used it last, from 1
	calls  uint64
	passed uint64
	buffer []byte // of the new function
}

// readCode reads the code section, function by function, into m.code.
func (m *module) readCode(r *cursor) {
	n := r.count(2)
	if n != len(m.functions)-m.importedF {
		r.fail("there are %d functions, and code for %d", len(m.functions)-m.importedF, n)
	}
	m.coded = true
	m.code = make([]byte, 0, r.left()+r.left()/2)
	f := &body{m: m, used: make([]int, len(m.globals))}
	var locals uint64
	for i := 0; i < n && r.err == nil; i++ {
		size := r.u32()
		r.within("the bytes of one function", uint64(size), m.ceilings.Body)
		f.cursor = cursor{b: r.bytes(size), err: r.err}
		f.sign = m.typeOf(m.importedF+i, &f.cursor)
		f.read()
		m.calls += f.calls
		m.merges += f.flow.total()
		m.passed += f.passed
		f.within("the values that all calls and branches pass", m.passed, mostAllPassed)
		f.within("the branches of all functions, with what lives across them,", m.merges, m.ceilings.AllMerges)
		locals += uint64(len(f.kinds) + len(m.globals)) // a compiler has variables for both
		f.within("the locals of all functions", locals, m.ceilings.AllLocals)
		if r.err = f.err; r.err == nil {
			m.code = f.write(m.code)
		}
	}
}

// read validates the function and notes what is to be injected
// (https://www.w3.org/TR/wasm-core-2/#validation-algorithm).
func (f *body) read() {
	f.stack, f.frames, f.edits = f.stack[:0], f.frames[:0], f.edits[:0]
	f.calls, f.passed = 0, 0
	f.flow = flow{function: f.flow.function + 1}
	f.readLocals()
	if f.err != nil {
		return
	}
	f.gas.start(f)
	f.depth.start(f.kinds, len(f.sign.results))
	f.nan.start(f.kinds, len(f.sign.params))
	f.runs.start(len(f.kinds), f.at)
	f.enter(opBlock, signature{results: f.sign.results})
	for f.err == nil && len(f.frames) > 0 {
		f.instruction()
	}
	if f.err == nil && f.left() > 0 {
		f.fail("instructions follow the end of a function")
	}
	f.within("the values on the stack of one function", uint64(f.depth.stack), f.m.ceilings.Stack)
	f.flow.looks += f.flow.each * f.flow.globals
	f.branching()
	f.nan.resolve(f.edits)
	f.runs.resolve(f.edits)
}

func (f *body) readLocals() {
	f.kinds = append(f.kinds[:0], f.sign.params...)
	f.groups = f.count(2)
	total := uint64(len(f.kinds))
	for i := 0; i < f.groups && f.err == nil; i++ {
		n, kind := f.u32(), f.byte()
		total += uint64(n)
		f.within("the locals of one function", total, f.m.ceilings.Locals)
		if !isValueType(kind) {
			f.fail("local of type %#x", kind)
		}
		if f.err != nil {
			return
		}
		for ; n > 0; n-- {
			f.kinds = append(f.kinds, kind)
		}
	}
	f.code = f.at
}

func (f *body) push(kind byte, from producer) {
	f.stack = append(f.stack, value{from: from, kind: kind})
	f.depth.pushed(kind, len(f.stack))
}

// locate notes what is known of the i32 on top of the stack.
func (f *body) locate(a address) { f.stack[len(f.stack)-1].address = a }

func (f *body) pushAll(kinds []byte) {
	for _, k := range kinds {
		f.push(k, mixed)
	}
	f.within("the values on the stack of one function", uint64(len(f.stack)), f.m.ceilings.Stack)
}

// take pops a value of a type, or of any, without looking at its bits.
func (f *body) take(kind byte) value {
	top := len(f.stack) - 1
	if top < f.floor {
		if !f.frames[len(f.frames)-1].unreachable {
			f.fail("an operand is missing at byte %d of a function", f.at)
		}
		return value{kind: typeAny}
	}
	v := f.stack[top]
	f.stack = f.stack[:top]
	f.depth.popped(top)
	if v.kind != kind && kind != typeAny && v.kind != typeAny {
		f.fail("an operand of type %#x where one of type %#x is needed, at byte %d of a function", v.kind, kind, f.at)
	}
	return v
}

// pop is take by an instruction that may show all bits of the value, so that
// they must be canonical.
func (f *body) pop(kind byte) value {
	v := f.take(kind)
	f.observe(v.from)
	return v
}

func (f *body) popAll(kinds []byte) {
	for i := len(kinds) - 1; i >= 0; i-- {
		f.pop(kinds[i])
	}
}

// instruction reads one.
func (f *body) instruction() {
	at := f.at
	if len(f.stack) == f.floor {
		f.runs.between(at, len(f.edits))
	}
	code := f.byte()
	if o := &plain[code]; o.form != formNone {
		f.simple(o)
		return
	}
	switch code {
	case opLocalGet, opLocalSet, opLocalTee:
		f.local(at, code)
	case opI32Const:
		x := f.signed(32)
		f.constant(typeI32, clean)
		f.locate(address{base: baseConstant, plus: uint32(x)})
	case opI64Const:
		f.signed(64)
		f.constant(typeI64, clean)
	case opF32Const:
		f.constant(typeF32, cleanF32(f.bytes(4)))
	case opF64Const:
		f.constant(typeF64, cleanF64(f.bytes(8)))
	case opGlobalGet, opGlobalSet:
		f.global(code)
	case opDrop:
		f.take(typeAny)
		f.gas.add(1)
	case opSelect, opSelectTyped:
		f.choose(code)
	case opVector:
		f.vector()
	default:
		f.interruption(at, code)
		f.runs.interrupt(f.at)
	}
}

// interruption does an instruction that ends straight code, as a run takes it.
func (f *body) interruption(at int, code byte) {
	switch code {
	case opMisc:
		f.misc(at)
	case opCall:
		t := f.m.typeOf(int(f.m.functionIndex(&f.cursor)), &f.cursor)
		f.call(at, t, gasCall)
	case opCallIndirect:
		t := f.m.typeIndex(&f.cursor)
		f.table(typeFuncref)
		f.pop(typeI32)
		if f.err == nil {
			f.call(at, f.m.types[t], gasCallIndirect)
		}
	case opTableGet:
		t := f.table(typeAny)
		f.pop(typeI32)
		f.push(t.kind, mixed)
		f.gas.add(1)
	case opTableSet:
		f.pop(f.table(typeAny).kind)
		f.pop(typeI32)
		f.gas.add(1)
	case opMemorySize, opMemoryGrow:
		f.memory()
		if code == opMemoryGrow {
			f.pop(typeI32)
			f.gas.add(gasGrow)
			f.charge(at, bulkPages, maxPages)
		}
		f.push(typeI32, mixed)
		f.gas.add(1)
	case opRefNull, opRefIsNull, opRefFunc:
		f.reference(code)
	default:
		f.control(at, code)
	}
}

// simple does an instruction of the tables, whose opcode has been read.
func (f *body) simple(o *op) {
	at := f.at - 1
	var offset uint32
	switch o.form {
	case formMemory, formLaneMem:
		if !f.m.memory {
			f.fail("memory is used without one")
		}
		if f.u32() > uint32(o.max) {
			f.fail("an alignment is greater than natural")
		}
		offset = f.u32()
		f.flow.path++
		f.flow.read(2) // where memory is, and how long
	}
	if o.lane > 0 && f.byte() >= o.lane {
		f.fail("a lane does not exist")
	}
	var operands [len(o.pops)]value
	for i := int(o.n) - 1; i >= 0; i-- {
		v := f.take(o.pops[i])
		if v.from > mixed {
			f.consume(v.from, o.in)
		}
		operands[i] = v
	}
	f.gas.add(uint32(o.gas))
	var loaded producer
	if o.form == formMemory || o.form == formLaneMem {
		loaded = f.access(o, at, operands[0].address, offset, operands[1].from)
	}
	switch {
	case loaded != mixed:
		f.push(o.push, loaded)
	case o.push != 0:
		f.push(o.push, f.produce(o.out))
	}
	if o == &plain[opI32Add] {
		f.locate(operands[0].address.add(operands[1].address))
	}
}

func (f *body) constant(kind byte, from producer) {
	f.gas.add(1)
	f.push(kind, from)
}

func (f *body) local(at int, code byte) {
	x := f.u32()
	if int(x) >= len(f.kinds) {
		f.fail("local %d does not exist", x)
		return
	}
	f.gas.add(1)
	kind := f.kinds[x]
	if code == opLocalGet {
		f.flow.read(1)
		f.push(kind, f.get(x))
		f.locate(f.runs.get(x))
		return
	}
	v := f.take(kind)
	f.depth.setLocal(x, kind)
	f.set(x, v.from)
	f.runs.set(x, at, v.address)
	if code == opLocalTee {
		f.push(kind, v.from)
		f.locate(v.address)
	}
}

func (f *body) global(code byte) {
	x := f.u32()
	if int(x) >= len(f.m.globals) {
		f.fail("global %d does not exist", x)
		return
	}
	f.gas.add(1)
	f.use(int(x))
	g := f.m.globals[x]
	f.depth.set(g.kind)
	if code == opGlobalGet {
		f.flow.read(1)
		f.push(g.kind, mixed)
		return
	}
	if !g.mutable {
		f.fail("global %d is constant", x)
	}
	f.pop(g.kind)
}

func (f *body) choose(code byte) {
	kind := byte(typeAny)
	if code == opSelectTyped {
		if f.byte() != 1 {
			f.fail("select of another number of types than one")
		}
		if kind = f.byte(); !isValueType(kind) {
			f.fail("select of type %#x", kind)
		}
	}
	f.pop(typeI32)
	for range 2 {
		v := f.pop(typeAny)
		if code == opSelect && isReference(v.kind) {
			f.fail("select of references without a type")
		}
		if kind == typeAny {
			kind = v.kind
		}
		if v.kind != kind && v.kind != typeAny {
			f.fail("select of operands of other types than one")
		}
	}
	f.push(kind, mixed)
	f.gas.add(1)
}

func (f *body) reference(code byte) {
	switch code {
	case opRefNull:
		kind := f.byte()
		if !isReference(kind) {
			f.fail("null of type %#x", kind)
		}
		f.push(kind, mixed)
	case opRefIsNull:
		if v := f.pop(typeAny); v.kind != typeAny && !isReference(v.kind) {
			f.fail("a reference is needed")
		}
		f.push(typeI32, mixed)
	case opRefFunc:
		x := f.m.functionIndex(&f.cursor)
		if f.err == nil && (f.m.declared == nil || !f.m.declared[x]) {
			f.fail("reference to function %d, which is not declared", x)
		}
		f.push(typeFuncref, mixed)
		f.gas.add(gasReference - 1)
	}
	f.gas.add(1)
}
