package meter

// enter opens a frame. Its parameters are on the stack, verified, again.
func (f *body) enter(op byte, t signature) {
	f.frames = append(f.frames, frame{
		op: op, params: t.params, results: t.results, line: f.flow.line, path: f.flow.path,
		height: len(f.stack), sets: f.depth.order, deadBefore: f.gas.dead, fork: -1, table: -1, merges: -1,
	})
	f.within("the blocks within blocks of one function", uint64(len(f.frames)-1), f.m.ceilings.Nesting)
	f.floor = len(f.stack)
	f.pushAll(t.params)
}

// leave closes the innermost frame, whose results must be all that is left.
func (f *body) leave() frame {
	top := len(f.frames) - 1
	closed := f.frames[top]
	f.popAll(closed.results)
	if len(f.stack) != closed.height {
		f.fail("values are left at the end of a block")
	}
	f.frames = f.frames[:top]
	f.floor = 0
	if top > 0 {
		f.floor = f.frames[top-1].height
	}
	return closed
}

// unreachable makes the rest of the innermost frame so.
func (f *body) unreachable() {
	f.stack = f.stack[:f.floor]
	f.depth.popped(f.floor)
	f.frames[len(f.frames)-1].unreachable = true
	f.gas.stop(f)
}

var (
	noTypes   []byte
	oneOfType = func() (t [128]byte) {
		for i := range t {
			t[i] = byte(i)
		}
		return t
	}()
)

// blockType reads the type of a block, and verifies and pops its parameters.
func (f *body) blockType() signature {
	t := signature{results: noTypes}
	switch i := f.signed(33); {
	case i == -0x40:
	case i >= 0:
		if i >= int64(len(f.m.types)) {
			f.fail("type %d does not exist", i)
			return t
		}
		t = f.m.types[i]
	default:
		kind := byte(i & 0x7f)
		if i < -0x40 || f.b[f.at-1] != kind || !isValueType(kind) {
			f.fail("a block of an unknown type")
		}
		t.results = oneOfType[kind : kind+1]
	}
	f.popAll(t.params)
	return t
}

// target reads a label and returns the frame that it names, to which control
// may go.
func (f *body) target() *frame {
	l := f.u32()
	if int64(l) >= int64(len(f.frames)) {
		f.fail("label %d does not exist", l)
		return &f.frames[0]
	}
	t := &f.frames[len(f.frames)-1-int(l)]
	return t
}

// branch notes that control may go to the label of a frame.
func (f *body) branch(t *frame) {
	f.lead(t)
	if f.gas.dead {
		return
	}
	t.targeted = true
	if t.op == opBlock {
		t.fork = -1
	}
	if t != &f.frames[0] {
		f.arrive(t)
	}
}

func (f *body) control(at int, code byte) {
	switch code {
	case opUnreachable:
		f.gas.add(1)
		f.gas.traps(f, at)
		f.unreachable()
	case opNop:
	case opBlock:
		f.enter(opBlock, f.blockType())
	case opLoop:
		t := f.blockType()
		f.gas.join(f, at)
		f.enter(opLoop, t)
		top := &f.frames[len(f.frames)-1]
		f.lead(top)
		f.flow.line = 0
		f.check()
		top.head = f.gas.loop(f)
		f.arrive(top)
		f.merged(top)
	case opIf:
		f.pop(typeI32)
		t := f.blockType()
		f.gas.add(1)
		f.gas.join(f, at)
		f.enter(opIf, t)
		f.step()
		f.nan.saved = append(f.nan.saved, f.nan.now...)
		f.frames[len(f.frames)-1].fork = f.gas.fork(f)
	case opElse:
		f.orElse(at)
	case opEnd:
		f.end(at)
	case opBr:
		f.gas.add(1)
		f.gas.join(f, at)
		t := f.target()
		f.branch(t)
		f.popAll(t.label())
		f.unreachable()
	case opBrIf:
		f.gas.add(1)
		f.gas.join(f, at)
		f.pop(typeI32)
		t := f.target()
		only := !t.targeted && t.op == opBlock
		f.branch(t)
		f.popAll(t.label())
		f.pushAll(t.label())
		f.step()
		fork := f.gas.fork(f)
		if only {
			t.fork = fork
		}
	case opBrTable:
		f.gas.add(gasTable)
		f.gas.join(f, at)
		f.pop(typeI32)
		f.brTable(at)
		f.unreachable()
	case opReturn:
		f.gas.add(1)
		f.popAll(f.sign.results)
		f.gas.leaves(f, at, editReturn)
		f.unreachable()
	default:
		f.fail("unknown instruction %#x", code)
	}
}

func (f *body) orElse(at int) {
	if f.frames[len(f.frames)-1].op != opIf {
		f.fail("else without if")
		return
	}
	f.gas.join(f, at)
	f.arrive(&f.frames[len(f.frames)-1])
	f.lead(&f.frames[len(f.frames)-1])
	closed := f.leave()
	dead := f.gas.dead
	f.gas.dead = closed.deadBefore
	copy(f.nan.now, f.beforeIf())
	f.flow.back(&closed)
	f.step()
	f.enter(opElse, signature{params: closed.params, results: closed.results})
	top := &f.frames[len(f.frames)-1]
	top.targeted, top.thenDead, top.merges, top.ways = closed.targeted, dead, closed.merges, closed.ways
	top.sets = closed.sets
	f.gas.segment(f)
	f.gas.meet(closed.fork)
}

func (f *body) end(at int) {
	top := &f.frames[len(f.frames)-1]
	function := len(f.frames) == 1
	joins := top.targeted && top.op != opLoop || top.op == opIf || top.op == opElse
	if joins {
		f.gas.join(f, at)
		f.arrive(top)
	}
	closed := f.leave()
	if closed.op == opIf && string(closed.params) != string(closed.results) {
		f.fail("an if without else has other results than parameters")
	}
	if closed.op != opLoop {
		f.lead(&closed)
	}
	if function {
		f.gas.finish(f, at, closed.targeted)
		return
	}
	f.pushAll(closed.results)
	for _, k := range closed.results {
		f.depth.set(k)
	}
	if joins || closed.targeted {
		f.depth.join(f.kinds, closed.sets)
	}
	switch closed.op {
	case opLoop:
		f.step()
		if !closed.targeted {
			f.gas.unloop(f, closed.head)
		}
		return
	case opIf:
		f.gas.dead = closed.deadBefore
		f.flow.back(&closed)
		f.lead(&closed)
		f.bring(&closed, f.beforeIf())
	case opElse:
		f.gas.dead = f.gas.dead && closed.thenDead && !closed.targeted
	case opBlock:
		if !f.gas.dead {
			closed.fork = -1
		}
		f.gas.dead = f.gas.dead && !closed.targeted
	}
	f.meet(&closed.ways)
	if joins {
		f.merged(&closed)
		f.gas.segment(f)
		if closed.op == opBlock {
			f.gas.meet(closed.fork)
		}
	}
}

// beforeIf takes what the locals held at the innermost open if.
func (f *body) beforeIf() []producer {
	at := len(f.nan.saved) - len(f.nan.now)
	values := f.nan.saved[at:]
	f.nan.saved = f.nan.saved[:at]
	return values
}

// brTable looks at each frame once, however often it is named.
func (f *body) brTable(at int) {
	n := f.count(1)
	var kinds []byte
	for i := 0; i <= n && f.err == nil; i++ {
		t := f.target()
		if t.table == at {
			f.lead(t)
			continue
		}
		t.table = at
		f.branch(t)
		if i > 0 && len(t.label()) != len(kinds) {
			f.fail("the labels of a br_table take different numbers of values")
			return
		}
		kinds = t.label()
		f.peekAll(kinds)
	}
	f.popAll(kinds)
}

// peekAll verifies the values on top of the stack and leaves them there.
func (f *body) peekAll(kinds []byte) {
	for i := range kinds {
		at := len(f.stack) - 1 - i
		kind := kinds[len(kinds)-1-i]
		if at < f.floor {
			if !f.frames[len(f.frames)-1].unreachable {
				f.fail("an operand is missing")
			}
			return
		}
		if v := f.stack[at]; v.kind != kind && v.kind != typeAny {
			f.fail("an operand of type %#x where one of type %#x is needed", v.kind, kind)
		}
	}
}

func (f *body) call(at int, t signature, cost uint32) {
	f.popAll(t.params)
	f.pass(len(t.params) + len(t.results))
	f.depth.call(len(f.stack), t)
	f.calls++
	globals := uint64(len(f.m.globals))
	f.within("the globals of the module times the calls of one function", f.calls*globals, mostReloads)
	f.within("the globals of the module times its calls", (f.m.calls+f.calls)*globals, mostAllReloads)
	f.gas.add(cost)
	f.gas.flush(f, at)
	f.pushAll(t.results)
}
