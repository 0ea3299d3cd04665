package protocol

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
)

// CheckPath checks the path of a guest's file: absolute, clean, at most
// [MaxPath] bytes, below dir, and of characters that can be shown as they are,
// so that [SafeText] would change none. It may come from a stranger and is not
// fit to be a host's path as it is.
func CheckPath(dir, p string) error {
	rest, below := strings.CutPrefix(p, dir+"/")
	switch {
	case !below || rest == "" || path.Clean(p) != p:
		return fmt.Errorf("%w: the path %.80q is not one below %s", ErrMalformed, p, dir)
	case len(p) > MaxPath:
		return fmt.Errorf("%w: path of %d bytes", ErrMalformed, len(p))
	case slices.ContainsFunc(strings.Split(rest, "/"), func(name string) bool { return len(name) > maxName }):
		return fmt.Errorf("%w: the path %.80q has a name of more than %d bytes", ErrMalformed, p, maxName)
	case SafeText(p) != p:
		return fmt.Errorf("%w: the path %.80q has characters that no name should", ErrMalformed, p)
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
	entries := s.InputEntries()
	if entries < 0 {
		return fmt.Errorf("%w: an input is within another", ErrMalformed)
	}
	if entries > int(s.Limits.Files) {
		return fmt.Errorf("%w: inputs of %d files and directories, the task's limit is %d", ErrMalformed, entries, s.Limits.Files)
	}
	return nil
}

// InputEntries counts the files and directories that the inputs make, as
// Limits.files does, or returns -1 when a file would have to be a directory,
// too.
func (s *Spec) InputEntries() int {
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

// Inline puts small stdin and inputs into s while they fit together, stdin
// first and then inputs in their order, so that they need no transfer of their
// own and equal tasks have equal bytes. open returns a blob's bytes; it is
// asked only for what would fit.
func (s *Spec) Inline(open func(*Blob) ([]byte, error)) error {
	blobs := make([]*Blob, 0, 1+len(s.Inputs))
	blobs = append(blobs, s.Stdin)
	for _, f := range s.Inputs {
		blobs = append(blobs, f.Blob)
	}
	room := uint64(MaxInline)
	for _, b := range blobs {
		room -= min(room, uint64(len(b.GetInline())))
	}
	for _, b := range blobs {
		if b.IsInline() || b.GetSize() > room {
			continue
		}
		inline, err := open(b)
		if err != nil {
			return err
		}
		b.Inline = inline
		room -= b.Size
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
