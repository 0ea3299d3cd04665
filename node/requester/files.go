package requester

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// collection is what has come of an attempt's output files. Each attempt has
// its own, since files come at an attempt's end and the first whole result
// wins. Their bytes lie one after another in one spool, which becomes one blob:
// thousands of small files then cost one file here, one fsync, and one entry
// of what a task keeps alive.
//
// It belongs to the goroutine that reads the attempt's stream, which makes and
// discards the pack. From the stream's end to the attempt's own it is lent to
// the conductor.
type collection struct {
	taken *protocol.Outputs // nil: no file was begun
	pack  *store.Spool
	begun time.Time // when the first header came
	pace  *pace     // since then
}

// beginFile takes the header of an output file.
func (in *intake) beginFile(h *protocol.FileHeader) error {
	c := &in.files
	if c.taken == nil {
		c.taken = in.t.spec.NewOutputs()
		c.pack = in.t.r.cfg.Blobs.NewSpool(int64(in.t.spec.Limits.FileBytes))
		c.begun = time.Now()
		c.pace = in.newPace()
	}
	if err := c.taken.Begin(h); err != nil {
		return err
	}
	c.pace.moved(protocol.MaxPath)
	by := c.begun.Add(c.taken.Allowance())
	in.filesBy.Store(&by)
	return nil
}

// writeFile takes bytes of the file last begun.
func (in *intake) writeFile(p []byte) error {
	c := &in.files
	if c.taken == nil {
		return fmt.Errorf("%w: bytes of no output file", protocol.ErrMalformed)
	}
	if _, err := c.taken.Write(p); err != nil {
		return err
	}
	if _, err := c.pack.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errKeep, err)
	}
	c.pace.moved(len(p))
	return nil
}

// filesUntil returns when all files begun so far must have come, or zero when
// none was begun.
func (in *intake) filesUntil() time.Time {
	if by := in.filesBy.Load(); by != nil {
		return *by
	}
	return time.Time{}
}

// fileList returns the output files that came whole.
func (in *intake) fileList() ([]*protocol.File, error) {
	if !in.outputEnded || in.files.taken == nil {
		return nil, nil
	}
	return in.files.taken.Finish()
}

// keepFiles makes the bytes of the output files a blob, or returns nil when
// there are none.
func (in *intake) keepFiles() (*protocol.Blob, error) {
	if !in.outputEnded || in.files.taken == nil {
		return nil, nil
	}
	pack, err := in.files.pack.Finish()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeep, err)
	}
	return pack, nil
}

// discard forgets what was not kept.
func (c *collection) discard() {
	if c.pack != nil {
		c.pack.Discard()
	}
}

// OpenFile opens an output file of a task that has ended, and returns its size
// in bytes. The path is the guest's, such as /out/a.
func (r *Requester) OpenFile(id protocol.TaskID, path string) (io.ReadCloser, uint64, error) {
	record, err := r.recordOf(id)
	if err != nil {
		return nil, 0, err
	}
	if record.Result == nil {
		return nil, 0, protocol.Errorf(protocol.CodeNotFound, "the task %s has not ended, and its files come at its end", record.Id).
			WithHint("'spare wait %s' waits for it", record.Id)
	}
	var at uint64
	for _, f := range record.Result.Files {
		if f.Path == path {
			rc, err := r.openPart(record.Result.Pack, int64(at), int64(f.Blob.GetSize()))
			return rc, f.Blob.GetSize(), err
		}
		at += f.Blob.GetSize()
	}
	return nil, 0, protocol.Errorf(protocol.CodeNotFound, "the task %s left no file %.80q", record.Id, path).
		WithHint("'spare show %s' lists its files", record.Id)
}

func (r *Requester) recordOf(id protocol.TaskID) (*protocol.Task, error) {
	if t := r.openTask(id); t != nil {
		return t.snapshot(), nil
	}
	return r.cfg.Journal.Task(string(id))
}

// openPart opens size bytes of a blob, from an offset on.
func (r *Requester) openPart(b *protocol.Blob, at, size int64) (io.ReadCloser, error) {
	if b.IsInline() {
		return io.NopCloser(io.NewSectionReader(bytes.NewReader(b.GetInline()), at, size)), nil
	}
	f, _, err := r.cfg.Blobs.Open(b.Sum())
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, at, size), f}, nil
}
