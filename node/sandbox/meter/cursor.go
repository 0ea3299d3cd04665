package meter

import (
	"fmt"
	"unicode/utf8"
)

// cursor reads a section until the first error, and zeros after it.
type cursor struct {
	b   []byte
	at  int
	err error
}

func (r *cursor) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
		r.at = len(r.b)
	}
}

func (r *cursor) left() int { return len(r.b) - r.at }

func (r *cursor) byte() byte {
	if r.at >= len(r.b) {
		r.fail("it ends in the middle")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *cursor) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.fail("it ends in the middle")
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at : r.at]
}

// u32 reads an unsigned LEB128 of 32 bits.
func (r *cursor) u32() uint32 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return uint32(r.b[r.at-1])
	}
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v>>32 != 0 {
				break
			}
			return uint32(v)
		}
	}
	r.fail("an integer has more than 32 bits")
	return 0
}

// signed reads a signed LEB128 of 32, 33 or 64 bits.
func (r *cursor) signed(bits int) int64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return int64(int8(r.b[r.at-1]<<1)) >> 1
	}
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		if left := bits - shift; left < 7 {
			// What is beyond the highest bit must repeat it.
			if high := int8(b<<1) >> left; high != 0 && high != -1 {
				break
			}
		}
		if shift+7 < 64 {
			v = v << (57 - shift) >> (57 - shift)
		}
		return v
	}
	r.fail("an integer has more than %d bits", bits)
	return 0
}

// count reads the length of a vector whose entries have least bytes or more, so
// that what is made for it is bounded by the module's size.
func (r *cursor) count(least int) int {
	n := r.u32()
	if uint64(n) > uint64(r.left()/least) {
		r.fail("a list is longer than what is left")
		return 0
	}
	return int(n)
}

func (r *cursor) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.fail("a name is not UTF-8")
	}
	return string(b)
}

// limits reads the limits of a memory or table.
func (r *cursor) limits() (minimum, maximum uint32, bounded bool) {
	switch r.byte() {
	case 0:
		return r.u32(), 0, false
	case 1:
		minimum, maximum = r.u32(), r.u32()
		if minimum > maximum {
			r.fail("a minimum is greater than its maximum")
		}
		return minimum, maximum, true
	default:
		r.fail("limits of an unknown kind, or shared")
		return 0, 0, false
	}
}
