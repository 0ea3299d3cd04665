package protocol

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// CheckPath checks the path of a guest's file: absolute, clean, valid UTF-8
// without control characters, at most [MaxPath] bytes, and below dir. It may
// come from a stranger and is not fit to be a host's path as it is.
func CheckPath(dir, p string) error {
	rest, below := strings.CutPrefix(p, dir+"/")
	switch {
	case !below || rest == "" || path.Clean(p) != p:
		return fmt.Errorf("%w: the path %.80q is not one below %s", ErrMalformed, p, dir)
	case len(p) > MaxPath:
		return fmt.Errorf("%w: path of %d bytes", ErrMalformed, len(p))
	case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%w: the path %.80q has bytes that no name should", ErrMalformed, p)
	}
	return nil
}

// validateInputs checks the inputs of s: each below [InputDir], sorted, none
// within another, and all of them within the limits on files.
func (s *Spec) validateInputs() error {
	if len(s.Inputs) > MaxInputs {
		return fmt.Errorf("%w: %d inputs, at most %d", ErrMalformed, len(s.Inputs), MaxInputs)
	}
	var size, listed uint64
	inline := len(s.Stdin.Inline)
	for i, f := range s.Inputs {
		if err := CheckPath(InputDir, f.GetPath()); err != nil {
			return err
		}
		if i > 0 && f.Path <= s.Inputs[i-1].Path {
			return fmt.Errorf("%w: the inputs are not sorted", ErrMalformed)
		}
		if err := f.Blob.Validate(); err != nil {
			return fmt.Errorf("input %s: %w", f.Path, err)
		}
		size += f.Blob.Size
		listed += uint64(len(f.Path)) + inputOverhead
		inline += len(f.Blob.Inline)
	}
	switch {
	case inline > MaxInline:
		return fmt.Errorf("%w: %d bytes of stdin and inputs inline", ErrMalformed, inline)
	case listed > maxInputList:
		return fmt.Errorf("%w: the list of inputs takes %d bytes, at most %d", ErrMalformed, listed, maxInputList)
	case size > s.Limits.FileBytes:
		return fmt.Errorf("%w: inputs of %d bytes, the task's limit is %d", ErrMalformed, size, s.Limits.FileBytes)
	}
	entries := s.inputEntries()
	if entries < 0 {
		return fmt.Errorf("%w: an input is within another", ErrMalformed)
	}
	if entries > int(s.Limits.Files) {
		return fmt.Errorf("%w: inputs of %d files and directories, the task's limit is %d", ErrMalformed, entries, s.Limits.Files)
	}
	return nil
}

// inputEntries counts the files and directories that the inputs make, or
// returns -1 when a file would have to be a directory, too.
func (s *Spec) inputEntries() int {
	if len(s.Inputs) == 0 {
		return 0
	}
	files := make(map[string]bool, len(s.Inputs))
	for _, f := range s.Inputs {
		files[f.Path] = true
	}
	dirs := make(map[string]bool)
	for _, f := range s.Inputs {
		for d := path.Dir(f.Path); d != InputDir && !dirs[d]; d = path.Dir(d) {
			if files[d] {
				return -1
			}
			dirs[d] = true
		}
	}
	return len(files) + len(dirs)
}

// Inline puts small stdin and inputs into s while they fit together, in their
// order, so that they need no transfer of their own. open returns a blob's
// bytes; it is asked only for what would fit.
func (s *Spec) Inline(open func(*Blob) ([]byte, error)) error {
	room := uint64(MaxInline - len(s.Stdin.GetInline()))
	for _, f := range s.Inputs {
		room -= min(room, uint64(len(f.Blob.GetInline())))
	}
	for _, f := range s.Inputs {
		if f.Blob.IsInline() || f.Blob.GetSize() > room {
			continue
		}
		b, err := open(f.Blob)
		if err != nil {
			return err
		}
		f.Blob.Inline = b
		room -= f.Blob.Size
	}
	return nil
}

// Transfers returns the blobs that s does not hold inline, in the order in
// which a worker is fed them: inputs, then stdin. The module is not among them.
func (s *Spec) Transfers() []*Blob {
	var list []*Blob
	for _, f := range s.Inputs {
		if !f.Blob.IsInline() {
			list = append(list, f.Blob)
		}
	}
	if !s.Stdin.IsInline() {
		list = append(list, s.Stdin)
	}
	return list
}

// appendFiles appends what a result digest covers of output files.
func appendFiles(b []byte, files []*File) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(files)))
	for _, f := range files {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.Path)))
		b = append(b, f.Path...)
		sum := f.Blob.Sum()
		b = append(b, sum[:]...)
		b = binary.BigEndian.AppendUint64(b, f.Blob.GetSize())
	}
	return b
}
