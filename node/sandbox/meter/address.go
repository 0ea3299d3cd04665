package meter

// address is what is known of an i32.
type address struct {
	base  base
	local uint32
	set   uint32 // where in the code the local was set last
	plus  uint32
}

// base tells what an address is, apart from what it adds to that.
type base byte

const (
	baseUnknown  base = iota
	baseConstant      // nothing
	baseLocal         // a local, as long as it is not set again
)

func (a address) add(b address) address {
	switch {
	case a.base == baseConstant && b.base != baseUnknown:
		b.plus += a.plus
		return b
	case b.base == baseConstant && a.base != baseUnknown:
		a.plus += b.plus
		return a
	}
	return address{}
}
