package meter

// Instructions that are treated one by one, here or in what is injected.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opF64Load      = 0x2b
	opF64Store     = 0x39
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eqz       = 0x45
	opI32LeU       = 0x4d
	opI64LtS       = 0x53
	opF32Ge        = 0x60
	opF64Ge        = 0x66
	opI32Add       = 0x6a
	opI32And       = 0x71
	opI32Or        = 0x72
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Or        = 0x84
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opF64Add       = 0xa0
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17

	vectorConst     = 12
	vectorShuffle   = 13
	vectorF32x4Ge   = 0x46
	vectorF64x2Ge   = 0x4c
	vectorBitselect = 0x52
)

// form is how the immediate of an instruction is encoded.
type form byte

const (
	formNone    form = iota // no such instruction, or one treated by itself
	formPlain               // nothing
	formMemory              // alignment, offset
	formLane                // lane
	formLaneMem             // alignment, offset, lane
)

// shape tells which numbers a value is made of, as far as NaNs matter.
type shape byte

const (
	shapeNone shape = iota
	shapeF32
	shapeF64
	shapeF32x4
	shapeF64x2
	shapeClean // no NaN at all
	shapeMixed // of a local: NaNs with bits that must be kept
)

// op describes an instruction that only moves values between the stack and the
// memory.
type op struct {
	form form
	pops [3]byte
	n    byte // how many of pops
	push byte // 0: nothing
	gas  byte
	max  byte  // highest alignment as a power of two
	lane byte  // number of lanes
	in   shape // how it reads its operands, if it cares only whether they are NaN
	out  shape // what its result may be a NaN of that is not canonical yet
}

// row describes the instructions from first to last. In sign, i I f F v stand
// for i32 i64 f32 f64 v128.
type row struct {
	first, last byte
	sign        string
	gas         byte
	in, out     shape
}

func kindOf(letter byte) byte {
	switch letter {
	case 'i':
		return typeI32
	case 'I':
		return typeI64
	case 'f':
		return typeF32
	case 'F':
		return typeF64
	default:
		return typeV128
	}
}

func (r row) op() op {
	o := op{form: formPlain, gas: r.gas, in: r.in, out: r.out}
	for i := 0; i < len(r.sign); i++ {
		if r.sign[i] == '>' {
			if i+1 < len(r.sign) {
				o.push = kindOf(r.sign[i+1])
			}
			break
		}
		o.pops[o.n] = kindOf(r.sign[i])
		o.n++
	}
	return o
}

// access describes loads and stores, whose alignment is at most 1<<max.
type access struct {
	first, last byte
	sign        string
	max, lane   byte
}

func fill(rows []row, accesses []access, weight byte) *[256]op {
	var t [256]op
	for _, r := range rows {
		for c := int(r.first); c <= int(r.last); c++ {
			t[c] = r.op()
		}
	}
	for _, a := range accesses {
		for c := int(a.first); c <= int(a.last); c++ {
			o := row{sign: a.sign, gas: weight}.op()
			o.form, o.max, o.lane = formMemory, a.max, a.lane
			if a.lane > 0 {
				o.form = formLaneMem
			}
			t[c] = o
		}
	}
	return &t
}

var plain = fill([]row{
	{0x45, 0x45, "i>i", 1, 0, 0},
	{0x46, 0x4f, "ii>i", 1, 0, 0},
	{0x50, 0x50, "I>i", 1, 0, 0},
	{0x51, 0x5a, "II>i", 1, 0, 0},
	{0x5b, 0x60, "ff>i", 1, shapeF32, 0},
	{0x61, 0x66, "FF>i", 1, shapeF64, 0},
	{0x67, 0x69, "i>i", 1, 0, 0},
	{0x6a, 0x6c, "ii>i", 1, 0, 0},
	{0x6d, 0x70, "ii>i", gasDivide, 0, 0},
	{0x71, 0x78, "ii>i", 1, 0, 0},
	{0x79, 0x7b, "I>I", 1, 0, 0},
	{0x7c, 0x7e, "II>I", 1, 0, 0},
	{0x7f, 0x82, "II>I", gasDivide, 0, 0},
	{0x83, 0x8a, "II>I", 1, 0, 0},
	{0x8b, 0x8c, "f>f", 1, 0, 0}, // abs, neg
	{0x8d, 0x90, "f>f", 1, shapeF32, shapeF32},
	{0x91, 0x91, "f>f", gasRoot, shapeF32, shapeF32},
	{0x92, 0x94, "ff>f", 1, shapeF32, shapeF32},
	{0x95, 0x95, "ff>f", gasDivideFloat, shapeF32, shapeF32},
	{0x96, 0x97, "ff>f", 1, shapeF32, shapeF32},
	{0x98, 0x98, "ff>f", 1, 0, 0}, // copysign
	{0x99, 0x9a, "F>F", 1, 0, 0},  // abs, neg
	{0x9b, 0x9e, "F>F", 1, shapeF64, shapeF64},
	{0x9f, 0x9f, "F>F", gasRoot, shapeF64, shapeF64},
	{0xa0, 0xa2, "FF>F", 1, shapeF64, shapeF64},
	{0xa3, 0xa3, "FF>F", gasDivideFloat, shapeF64, shapeF64},
	{0xa4, 0xa5, "FF>F", 1, shapeF64, shapeF64},
	{0xa6, 0xa6, "FF>F", 1, 0, 0}, // copysign
	{0xa7, 0xa7, "I>i", 1, 0, 0},
	{0xa8, 0xa9, "f>i", 1, shapeF32, 0},
	{0xaa, 0xab, "F>i", 1, shapeF64, 0},
	{0xac, 0xad, "i>I", 1, 0, 0},
	{0xae, 0xaf, "f>I", 1, shapeF32, 0},
	{0xb0, 0xb1, "F>I", 1, shapeF64, 0},
	{0xb2, 0xb3, "i>f", 1, 0, shapeClean},
	{0xb4, 0xb5, "I>f", 1, 0, shapeClean},
	{0xb6, 0xb6, "F>f", 1, shapeF64, shapeF32},
	{0xb7, 0xb8, "i>F", 1, 0, shapeClean},
	{0xb9, 0xba, "I>F", 1, 0, shapeClean},
	{0xbb, 0xbb, "f>F", 1, shapeF32, shapeF64},
	{0xbc, 0xbc, "f>i", 1, 0, 0},
	{0xbd, 0xbd, "F>I", 1, 0, 0},
	{0xbe, 0xbe, "i>f", 1, 0, 0},
	{0xbf, 0xbf, "I>F", 1, 0, 0},
	{0xc0, 0xc1, "i>i", 1, 0, 0},
	{0xc2, 0xc4, "I>I", 1, 0, 0},
}, []access{
	{0x28, 0x28, "i>i", 2, 0},
	{0x29, 0x29, "i>I", 3, 0},
	{0x2a, 0x2a, "i>f", 2, 0},
	{0x2b, 0x2b, "i>F", 3, 0},
	{0x2c, 0x2d, "i>i", 0, 0},
	{0x2e, 0x2f, "i>i", 1, 0},
	{0x30, 0x31, "i>I", 0, 0},
	{0x32, 0x33, "i>I", 1, 0},
	{0x34, 0x35, "i>I", 2, 0},
	{0x36, 0x36, "ii>", 2, 0},
	{0x37, 0x37, "iI>", 3, 0},
	{0x38, 0x38, "if>", 2, 0},
	{0x39, 0x39, "iF>", 3, 0},
	{0x3a, 0x3a, "ii>", 0, 0},
	{0x3b, 0x3b, "ii>", 1, 0},
	{0x3c, 0x3c, "iI>", 0, 0},
	{0x3d, 0x3d, "iI>", 1, 0},
	{0x3e, 0x3e, "iI>", 2, 0},
}, 1)

// saturating are the conversions behind the prefix opMisc.
var saturating = fill([]row{
	{0, 1, "f>i", 1, shapeF32, 0},
	{2, 3, "F>i", 1, shapeF64, 0},
	{4, 5, "f>I", 1, shapeF32, 0},
	{6, 7, "F>I", 1, shapeF64, 0},
}, nil, 1)
