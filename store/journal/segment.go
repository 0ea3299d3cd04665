package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

const (
	segmentLen  = 1 << 20
	maxSegments = 16
)

// segment is a file of frames.
type segment struct {
	name string
	last uint64 // number of its newest record; guarded by the Journal's mu

	// Only who writes, or opens the journal, uses these.
	file *os.File // nil when it does not exist
	end  int64    // where the next frame goes
}

// open opens the file and returns its content, at most as much as a segment
// has; nothing when the file does not exist.
func (s *segment) open(dir *os.Root) (data []byte, err error) {
	s.file, err = dir.OpenFile(s.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		s.file = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(s.file, 0, segmentLen))
}

// start makes a segment ready to be written from its beginning, and whole.
func (s *segment) start(dir *os.Root) (err error) {
	if s.file == nil {
		if s.file, err = dir.OpenFile(s.name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
	}
	info, err := s.file.Stat()
	if err == nil && info.Size() < segmentLen {
		err = s.fill(dir)
	}
	if err != nil {
		return err
	}
	s.end = 0
	return nil
}

// fill writes zeros. When the disk has no room for all of them it keeps none.
func (s *segment) fill(dir *os.Root) error {
	_, err := s.file.WriteAt(make([]byte, segmentLen), 0)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(0))
	}
	return syncNames(dir)
}

// syncNames makes the names in a directory outlast a power cut.
func syncNames(dir *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil // NTFS journals names, and Windows flushes no directory
	}
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *segment) write(frame []byte) error {
	if _, err := s.file.WriteAt(frame, s.end); err != nil {
		return err
	}
	if err := syncData(s.file); err != nil {
		return fmt.Errorf("sync %s: %w", s.name, err)
	}
	return nil
}
