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
type collection struct {
	taken *protocol.Outputs // nil: no file was begun
	pack  *store.Spool
	begun time.Time // when the first header came
	over  bool      // the attempt has ended
}

// beginFile takes the header of an output file.
func (a *attempt) beginFile(h *protocol.FileHeader) error {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	c := &a.files
	if c.over {
		return errBroken
	}
	if c.taken == nil {
		c.taken = a.t.spec.NewOutputs()
		c.pack = a.t.r.cfg.Blobs.NewSpool(int64(a.t.spec.Limits.FileBytes))
		c.begun = time.Now()
	}
	return c.taken.Begin(h)
}

// writeFile takes bytes of the file last begun.
func (a *attempt) writeFile(p []byte) error {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	c := &a.files
	if c.over {
		return errBroken
	}
	if c.taken == nil {
		return fmt.Errorf("%w: bytes of no output file", protocol.ErrMalformed)
	}
	if _, err := c.taken.Write(p); err != nil {
		return err
	}
	if _, err := c.pack.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errKeep, err)
	}
	return nil
}

// filesUntil returns when all files begun so far must have come, or zero when
// none was begun.
func (a *attempt) filesUntil() time.Time {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	if a.files.taken == nil {
		return time.Time{}
	}
	return a.files.begun.Add(a.files.taken.Allowance())
}

// fileList returns the output files that came whole.
func (a *attempt) fileList() ([]*protocol.File, error) {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	if a.files.taken == nil {
		return nil, nil
	}
	return a.files.taken.Finish()
}

// keepFiles makes the bytes of the output files a blob, or returns nil when
// there are none.
func (a *attempt) keepFiles() (*protocol.Blob, error) {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	if a.files.taken == nil {
		return nil, nil
	}
	pack, err := a.files.pack.Finish()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeep, err)
	}
	return pack, nil
}

// discardFiles forgets what was not kept.
func (a *attempt) discardFiles() {
	a.t.outMu.Lock()
	defer a.t.outMu.Unlock()
	a.files.over = true
	if a.files.pack != nil {
		a.files.pack.Discard()
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
