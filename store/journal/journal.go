package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

var (
	// ErrDamaged is returned by [Open] when records are missing that were
	// acknowledged.
	ErrDamaged = errors.New("journal is damaged")
	// ErrFull is returned by [Journal.Commit] when every segment holds records
	// that the checkpoint does not have.
	ErrFull = errors.New("journal is full")
	// ErrTooLarge is returned for a record of more than [MaxRecord] bytes.
	ErrTooLarge = errors.New("record is too large for the journal")
	// ErrClosed is returned after [Journal.Close].
	ErrClosed = errors.New("journal is closed")
)

// Journal is an open journal. Its methods may be called from many goroutines.
type Journal struct {
	dir *os.Root
	id  uint64

	segments []*segment
	current  *segment // of who writes; nil before the first write

	mu         sync.Mutex
	last       uint64   // number of the newest record
	durable    uint64   // all up to this are on disk, here or in the checkpoint
	checkpoint uint64   // all up to this are in the checkpoint
	queue      []*group // what is not durable, in order
	buffered   int      // bytes in queue
	writing    *write   // or nil
	spare      []byte   // a frame's memory, to be used again
	closed     bool
}

// write is the commit of the group at the head of the queue.
type write struct {
	done chan struct{} // closed when it has ended with err
	err  error
}

// Open opens the journal in the directory name of root, which is made when it
// is absent, and calls replay with every record behind the number after, up to
// which the checkpoint has them, in order. The bytes are valid during the call.
// The id is the same for the life of a checkpoint; frames with another are not
// there.
func Open(root *os.Root, name string, id, after uint64, replay func(record []byte) error) (*Journal, error) {
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{dir: dir, id: id, last: after, checkpoint: after}
	if err := j.load(replay); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), j.Close())
	}
	return j, nil
}

func (j *Journal) load(replay func(record []byte) error) error {
	var found []place
	for i := range maxSegments {
		s := &segment{name: fmt.Sprintf("%02d", i), end: segmentLen}
		j.segments = append(j.segments, s)
		data, err := s.open(j.dir)
		if err != nil {
			return err
		}
		for _, p := range scan(s, data, j.id) {
			s.last = max(s.last, p.last)
			if p.last > j.checkpoint {
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, func(a, b place) int { return cmp.Compare(a.first, b.first) })
	for _, p := range found {
		if p.first > j.last+1 {
			return fmt.Errorf("%w: the records from %d to %d are missing", ErrDamaged, j.last+1, p.first-1)
		}
		err := p.each(func(n uint64, record []byte) error {
			if n <= j.last {
				return nil
			}
			j.last = n
			return replay(record)
		})
		if err != nil {
			return err
		}
		j.current = p.segment
		j.current.end = p.end
	}
	j.durable = j.last
	if j.current == nil {
		return nil
	}
	if info, err := j.current.file.Stat(); err != nil || info.Size() < segmentLen {
		j.current.end = segmentLen // not whole any more: begin another
	}
	// A killed process may have left them to the system's memory.
	return syncData(j.current.file)
}

// Append adds a record, which is copied, and returns its number. It writes
// nothing: that is [Journal.Commit]'s.
func (j *Journal) Append(record []byte) (n uint64, err error) {
	if len(record) > MaxRecord {
		return 0, ErrTooLarge
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, ErrClosed
	}
	if len(j.queue) == 0 || !j.queue[len(j.queue)-1].fits(len(record)) {
		if j.spare == nil && len(j.queue) > 0 {
			j.spare = make([]byte, 0, maxGroup) // there is much to write
		}
		g := newGroup(j.spare, j.last+1)
		j.spare = nil
		j.queue = append(j.queue, g)
		j.buffered += len(g.frame)
	}
	g := j.queue[len(j.queue)-1]
	before := len(g.frame)
	g.add(record)
	j.buffered += len(g.frame) - before
	j.last = g.last
	return j.last, nil
}

// Last returns the number of the newest record, 0 when there never was one.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Buffered returns how many bytes wait to be written.
func (j *Journal) Buffered() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buffered
}

// Commit returns when all records up to the number n outlast a power cut. The
// first caller writes, for all whose records are there by then; who comes
// meanwhile waits for its turn or for another's. When ctx ends first, the
// records may or may not be on disk. After an error they are still there, for
// another Commit or for the checkpoint.
func (j *Journal) Commit(ctx context.Context, n uint64) error {
	for {
		j.mu.Lock()
		if min(n, j.last) <= j.durable {
			j.mu.Unlock()
			return nil
		}
		if j.closed {
			j.mu.Unlock()
			return ErrClosed
		}
		w, first := j.writing, false
		if w == nil {
			w, first = &write{done: make(chan struct{})}, true
			j.writing = w
		}
		g := j.queue[0]
		g.taken = true
		j.mu.Unlock()
		if first {
			j.finish(w, g, j.write(g))
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if w.err != nil {
			return w.err
		}
	}
}

// write writes a group. After an error the same bytes are written to the same
// place again, since the system may have dropped what it failed to sync.
func (j *Journal) write(g *group) error {
	if j.current == nil || j.current.end+int64(len(g.frame)) > segmentLen {
		s := j.free()
		if s == nil {
			return ErrFull
		}
		if err := s.start(j.dir); err != nil {
			return fmt.Errorf("begin segment %s: %w", s.name, err)
		}
		j.current = s
	}
	g.seal(j.id)
	return j.current.write(g.frame)
}

// free returns the segment to use next, nil when there is none: one that
// exists rather than a new one.
func (j *Journal) free() (best *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if s.last <= j.checkpoint && (best == nil || best.file == nil && s.file != nil) {
			best = s
		}
	}
	return best
}

// finish says how the write of g has ended.
func (j *Journal) finish(w *write, g *group, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writing = nil
	if err == nil {
		j.current.end += int64(len(g.frame))
		j.current.last = g.last
		j.durable = max(j.durable, g.last)
	}
	j.dropDurable()
	w.err = err
	close(w.done)
}

// dropDurable forgets the groups that need not be written any more. It is
// called with mu held and while nobody writes.
func (j *Journal) dropDurable() {
	for len(j.queue) > 0 && j.queue[0].last <= j.durable {
		j.buffered -= len(j.queue[0].frame)
		j.spare = j.queue[0].frame[:0]
		j.queue[0] = nil
		j.queue = j.queue[1:]
	}
}

// Checkpointed says that the checkpoint has all records up to the number n, as
// durable as here: their segments can be used again, and what of them is not
// written yet need not be.
func (j *Journal) Checkpointed(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.checkpoint = max(j.checkpoint, n)
	j.durable = max(j.durable, n)
	if j.writing == nil {
		j.dropDurable()
	}
}

// HalfFull reports whether half of the segments hold records that the
// checkpoint does not have.
func (j *Journal) HalfFull() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	used := 0
	for _, s := range j.segments {
		if s.last > j.checkpoint {
			used++
		}
	}
	return used >= maxSegments/2
}

// Close frees what an open journal holds. What has not been committed is lost.
func (j *Journal) Close() error {
	j.mu.Lock()
	w := j.writing
	j.closed = true
	j.mu.Unlock()
	if w != nil {
		<-w.done
	}
	var errs []error
	for _, s := range j.segments {
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file = nil
		}
	}
	return errors.Join(append(errs, j.dir.Close())...)
}
