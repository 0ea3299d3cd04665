package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

const (
	headerLen = 24
	crcAt     = 20
	// maxGroup is the length at which a frame takes no more records. It bounds
	// what is left unused at the end of a segment.
	maxGroup = segmentLen / 4
	// MaxRecord bounds the bytes of one record.
	MaxRecord = segmentLen - headerLen - binary.MaxVarintLen32
)

var (
	errNoFrame = errors.New("no frame")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// group is a frame in the making.
type group struct {
	frame       []byte
	first, last uint64
	taken       bool // being written, or to be written again as it is
}

func newGroup(buf []byte, first uint64) *group {
	return &group{frame: append(buf[:0], make([]byte, headerLen)...), first: first, last: first - 1}
}

// fits reports whether a record of n bytes may join.
func (g *group) fits(n int) bool {
	return !g.taken && len(g.frame)+binary.MaxVarintLen32+n <= maxGroup
}

func (g *group) add(record []byte) {
	g.frame = binary.AppendUvarint(g.frame, uint64(len(record)))
	g.frame = append(g.frame, record...)
	g.last++
}

// seal fills in the header.
func (g *group) seal(id uint64) {
	binary.LittleEndian.PutUint64(g.frame, id)
	binary.LittleEndian.PutUint64(g.frame[8:], g.first)
	binary.LittleEndian.PutUint32(g.frame[16:], uint32(len(g.frame)-headerLen))
	binary.LittleEndian.PutUint32(g.frame[crcAt:], checksum(g.frame))
}

func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:crcAt], castagnoli), castagnoli, frame[headerLen:])
}

// frame is a whole one, as it was read.
type frame struct {
	first, last uint64
	records     []byte
}

func (f frame) len() int { return headerLen + len(f.records) }

// parseFrame parses the frame of the journal id that data begins with.
func parseFrame(data []byte, id uint64) (frame, error) {
	if len(data) < headerLen || binary.LittleEndian.Uint64(data) != id {
		return frame{}, errNoFrame
	}
	n := binary.LittleEndian.Uint32(data[16:])
	if uint64(n) > uint64(len(data)-headerLen) {
		return frame{}, errNoFrame
	}
	data = data[:headerLen+int(n)]
	if checksum(data) != binary.LittleEndian.Uint32(data[crcAt:]) {
		return frame{}, errNoFrame
	}
	f := frame{first: binary.LittleEndian.Uint64(data[8:]), records: data[headerLen:]}
	count := uint64(0)
	if err := f.each(func(uint64, []byte) error { count++; return nil }); err != nil {
		return frame{}, err
	}
	f.last = f.first + count - 1
	if f.first == 0 || count == 0 || f.last < f.first {
		return frame{}, errNoFrame
	}
	return f, nil
}

// each calls take with the number and the bytes of every record, which alias
// the frame.
func (f frame) each(take func(n uint64, record []byte) error) error {
	for n, rest := f.first, f.records; len(rest) > 0; n++ {
		size, head := binary.Uvarint(rest)
		if head <= 0 || size > uint64(len(rest)-head) {
			return errNoFrame
		}
		rest = rest[head:]
		if err := take(n, rest[:size:size]); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

// place is where a frame lies.
type place struct {
	frame
	segment *segment
	end     int64
}

// scan returns all frames in the content of a segment, wherever they are.
func scan(s *segment, data []byte, id uint64) (found []place) {
	mark := binary.LittleEndian.AppendUint64(nil, id)
	for at := 0; ; {
		next := bytes.Index(data[at:], mark)
		if next < 0 {
			return found
		}
		at += next
		f, err := parseFrame(data[at:], id)
		if err != nil {
			at++
			continue
		}
		at += f.len()
		found = append(found, place{f, s, int64(at)})
	}
}
