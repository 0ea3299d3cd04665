package meter

// vectors are the instructions behind the prefix opVector, but for the constant
// and the shuffle.
var vectors = lanes(fill([]row{
	{14, 14, "vv>v", gasVector, 0, 0},
	{15, 17, "i>v", gasVector, 0, 0},
	{18, 18, "I>v", gasVector, 0, 0},
	{19, 19, "f>v", gasVector, 0, 0},
	{20, 20, "F>v", gasVector, 0, 0},
	{35, 64, "vv>v", gasVector, 0, 0},
	{65, 70, "vv>v", gasVector, shapeF32x4, 0},
	{71, 76, "vv>v", gasVector, shapeF64x2, 0},
	{77, 77, "v>v", gasVector, 0, 0},
	{78, 81, "vv>v", gasVector, 0, 0},
	{82, 82, "vvv>v", gasVector, 0, 0},
	{83, 83, "v>i", gasVector, 0, 0},
	{94, 94, "v>v", gasVector, shapeF64x2, shapeF32x4},
	{95, 95, "v>v", gasVector, shapeF32x4, shapeF64x2},
	{96, 98, "v>v", gasVector, 0, 0},
	{99, 100, "v>i", gasVector, 0, 0},
	{101, 102, "vv>v", gasVector, 0, 0},
	{103, 106, "v>v", gasVector, shapeF32x4, shapeF32x4},
	{107, 109, "vi>v", gasVector, 0, 0},
	{110, 115, "vv>v", gasVector, 0, 0},
	{116, 117, "v>v", gasVector, shapeF64x2, shapeF64x2},
	{118, 121, "vv>v", gasVector, 0, 0},
	{122, 122, "v>v", gasVector, shapeF64x2, shapeF64x2},
	{123, 123, "vv>v", gasVector, 0, 0},
	{124, 129, "v>v", gasVector, 0, 0},
	{130, 130, "vv>v", gasVector, 0, 0},
	{131, 132, "v>i", gasVector, 0, 0},
	{133, 134, "vv>v", gasVector, 0, 0},
	{135, 138, "v>v", gasVector, 0, 0},
	{139, 141, "vi>v", gasVector, 0, 0},
	{142, 147, "vv>v", gasVector, 0, 0},
	{148, 148, "v>v", gasVector, shapeF64x2, shapeF64x2},
	{149, 153, "vv>v", gasVector, 0, 0},
	{155, 159, "vv>v", gasVector, 0, 0},
	{160, 161, "v>v", gasVector, 0, 0},
	{163, 164, "v>i", gasVector, 0, 0},
	{167, 170, "v>v", gasVector, 0, 0},
	{171, 173, "vi>v", gasVector, 0, 0},
	{174, 174, "vv>v", gasVector, 0, 0},
	{177, 177, "vv>v", gasVector, 0, 0},
	{181, 186, "vv>v", gasVector, 0, 0},
	{188, 191, "vv>v", gasVector, 0, 0},
	{192, 193, "v>v", gasVector, 0, 0},
	{195, 196, "v>i", gasVector, 0, 0},
	{199, 202, "v>v", gasVector, 0, 0},
	{203, 205, "vi>v", gasVector, 0, 0},
	{206, 206, "vv>v", gasVector, 0, 0},
	{209, 209, "vv>v", gasVector, 0, 0},
	{213, 213, "vv>v", gasVectorSlow, 0, 0},
	{214, 223, "vv>v", gasVector, 0, 0},
	{224, 225, "v>v", gasVector, 0, 0}, // abs, neg
	{227, 227, "v>v", gasVectorSlow, shapeF32x4, shapeF32x4},
	{228, 230, "vv>v", gasVector, shapeF32x4, shapeF32x4},
	{231, 231, "vv>v", gasVectorSlow, shapeF32x4, shapeF32x4},
	{232, 233, "vv>v", gasVector, shapeF32x4, shapeF32x4},
	{234, 235, "vv>v", gasVector, 0, 0}, // pmin, pmax
	{236, 237, "v>v", gasVector, 0, 0},  // abs, neg
	{239, 239, "v>v", gasVectorSlow, shapeF64x2, shapeF64x2},
	{240, 242, "vv>v", gasVector, shapeF64x2, shapeF64x2},
	{243, 243, "vv>v", gasVectorSlow, shapeF64x2, shapeF64x2},
	{244, 245, "vv>v", gasVector, shapeF64x2, shapeF64x2},
	{246, 247, "vv>v", gasVector, 0, 0}, // pmin, pmax
	{248, 249, "v>v", gasVector, shapeF32x4, 0},
	{250, 251, "v>v", gasVector, 0, 0},
	{252, 253, "v>v", gasVector, shapeF64x2, 0},
	{254, 255, "v>v", gasVector, 0, 0},
}, []access{
	{0, 0, "i>v", 4, 0},
	{1, 6, "i>v", 3, 0},
	{7, 7, "i>v", 0, 0},
	{8, 8, "i>v", 1, 0},
	{9, 9, "i>v", 2, 0},
	{10, 10, "i>v", 3, 0},
	{11, 11, "iv>", 4, 0},
	{84, 84, "iv>v", 0, 16},
	{85, 85, "iv>v", 1, 8},
	{86, 86, "iv>v", 2, 4},
	{87, 87, "iv>v", 3, 2},
	{88, 88, "iv>", 0, 16},
	{89, 89, "iv>", 1, 8},
	{90, 90, "iv>", 2, 4},
	{91, 91, "iv>", 3, 2},
	{92, 92, "i>v", 2, 0},
	{93, 93, "i>v", 3, 0},
}, gasVector))

// lanes adds the instructions that extract or replace one lane.
func lanes(t *[256]op) *[256]op {
	for _, l := range []struct {
		first, last byte
		sign        string
		lanes       byte
	}{
		{21, 22, "v>i", 16},
		{23, 23, "vi>v", 16},
		{24, 25, "v>i", 8},
		{26, 26, "vi>v", 8},
		{27, 27, "v>i", 4},
		{28, 28, "vi>v", 4},
		{29, 29, "v>I", 2},
		{30, 30, "vI>v", 2},
		{31, 31, "v>f", 4},
		{32, 32, "vf>v", 4},
		{33, 33, "v>F", 2},
		{34, 34, "vF>v", 2},
	} {
		for c := l.first; c <= l.last; c++ {
			o := row{sign: l.sign, gas: gasVector}.op()
			o.form, o.lane = formLane, l.lanes
			t[c] = o
		}
	}
	return t
}
