package protocol

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"path"
	"time"
)

// The guest has ended when its files are sent, so that no limit of its own
// bounds how long that takes.
const (
	// OutputsSilence is how long the sender of output files may send nothing,
	// or their taker take nothing.
	OutputsSilence = 30 * time.Second
)

// Outputs takes the output files of one run as they come from a worker or from
// a provider, either of which may lie: each file is begun, and then its bytes
// are written. It checks that the paths are sorted, below [OutputDir] and none
// within another, that all files keep within the task's limits together with
// its inputs, and that each has as many bytes as it was begun with. It sums
// them up and keeps none.
type Outputs struct {
	entries int    // files and directories that may still come
	room    uint64 // bytes that may still be announced
	left    uint64 // bytes of the last file that are still to come
	told    uint64 // bytes announced so far, headers included
	sum     hash.Hash
	files   []*File
	paths   map[string]bool // true: a file; false: a directory of one
}

// NewOutputs returns what takes the output files of s, which has passed
// Validate.
func (s *Spec) NewOutputs() *Outputs {
	o := &Outputs{
		entries: int(s.Limits.Files) - s.InputEntries(),
		room:    s.Limits.FileBytes,
		sum:     sha256.New(),
		paths:   make(map[string]bool),
	}
	for _, f := range s.Inputs {
		o.room -= f.Blob.GetSize()
	}
	return o
}

// Begin begins the next file.
func (o *Outputs) Begin(h *FileHeader) error {
	if err := o.end(); err != nil {
		return err
	}
	p := h.GetPath()
	if err := CheckPath(OutputDir, p); err != nil {
		return err
	}
	if n := len(o.files); n > 0 && p <= o.files[n-1].Path {
		return fmt.Errorf("%w: the output files are not sorted", ErrMalformed)
	}
	if h.Size > o.room {
		return fmt.Errorf("%w: the output file %.80q has %d bytes, %d are left to the task", ErrMalformed, p, h.Size, o.room)
	}
	for d := path.Dir(p); d != OutputDir; d = path.Dir(d) {
		isFile, known := o.paths[d]
		if isFile {
			return fmt.Errorf("%w: the output file %.80q is within another", ErrMalformed, p)
		}
		if known {
			break
		}
		o.paths[d] = false
		o.entries--
	}
	o.paths[p] = true
	if o.entries--; o.entries < 0 {
		return fmt.Errorf("%w: more output files and directories than the task may have", ErrMalformed)
	}
	o.room -= h.Size
	o.left = h.Size
	o.told += h.Size + MaxPath
	o.files = append(o.files, &File{Path: p, Blob: &Blob{Size: h.Size}})
	return nil
}

// Allowance is how long the files begun so far may take to be sent, counted
// from when the first was begun.
func (o *Outputs) Allowance() time.Duration { return OutputsSilence + AtSlowest(o.told) }

// Write takes bytes of the file last begun.
func (o *Outputs) Write(p []byte) (int, error) {
	if uint64(len(p)) > o.left || len(o.files) == 0 {
		return 0, fmt.Errorf("%w: %d bytes of an output file that awaits %d", ErrMalformed, len(p), o.left)
	}
	o.left -= uint64(len(p))
	return o.sum.Write(p)
}

// Skip counts the bytes of the file last begun as come. It is for who only
// wants to know whether files fit: digests are wrong from then on.
func (o *Outputs) Skip() { o.left = 0 }

// end closes the books of the file last begun.
func (o *Outputs) end() error {
	if len(o.files) == 0 {
		return nil
	}
	last := o.files[len(o.files)-1]
	if o.left > 0 {
		return fmt.Errorf("%w: %d bytes of the output file %.80q are missing", ErrMalformed, o.left, last.Path)
	}
	if last.Blob.Digest == nil {
		last.Blob.Digest = o.sum.Sum(nil)
		o.sum.Reset()
	}
	return nil
}

// Finish returns the files when no more are to come. Their blobs are named,
// not inline.
func (o *Outputs) Finish() ([]*File, error) {
	if err := o.end(); err != nil {
		return nil, err
	}
	return o.files, nil
}
