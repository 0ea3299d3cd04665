package store

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store/journal"
)

// ErrClosed is returned by every method that writes after [Store.Close].
var ErrClosed = errors.New("store is closed")

const (
	// DefaultTasks is how many ended tasks are kept.
	DefaultTasks = 10_000
	// DefaultJobs bounds jobs rather than their results: people look for jobs.
	DefaultJobs      = 100
	defaultBlobBytes = 10 << 30
	// defaultEvidence bounds the bytes of evidence, some 300,000 receipts.
	defaultEvidence = 64 << 20
)

// Store is the durable state of one node. Its methods may be called from many
// goroutines.
type Store struct {
	dir     string
	root    *os.Root
	lock    *homeLock
	db      *database
	journal *journal.Journal
	blobs   *Blobs
	log     *slog.Logger

	keepTasks    int
	keepJobs     int
	keepEvidence int64 // bytes

	sequence sequence
	secrets  sync.Mutex // makes two callers get the same new file; held across I/O for that

	commits  sync.Mutex // held by the one that commits, across I/O
	evidence int64      // bytes of evidence in the database; guarded by commits

	dirty     chan struct{} // something is pending
	urgent    chan struct{} // the commit is due
	unwritten chan struct{} // something is to be in the journal

	mu      sync.Mutex
	room    sync.Cond // signalled when pending is taken, and when running or closed change
	running bool
	closed  bool
	failure error  // of the last commit
	pending *batch // waits for the next commit
	writing *batch // is being committed, or nil
	tasks   index
	jobs    index
	parts   map[protocol.TaskID]struct{} // open tasks of jobs that are stored
	peers   map[peer.ID]remembered
	nextKey uint64 // of the next evidence
	held    heldIndex
	redo    []byte // to encode changes in

	standings, credits, guests peerRecords
}

// Config is what [Open] may be told. A zero value stands for the default.
type Config struct {
	KeepTasks int          // ended tasks that are kept; 10,000
	KeepJobs  int          // ended jobs that are kept; 100
	KeepBlobs int64        // bytes of blobs that are kept; 10 GiB
	Logger    *slog.Logger // of failures that no caller is there to be told; none
}

// Open opens the home dir, which is made (mode 0700) when it is absent. It
// returns a [*protocol.Error]: [protocol.CodeHomeInUse] with the PID of the
// node that runs there, or [protocol.CodeFile] with the file that cannot be
// used.
func Open(dir string, cfg Config) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		dir:          dir,
		log:          cfg.Logger,
		keepTasks:    cmp.Or(cfg.KeepTasks, DefaultTasks),
		keepJobs:     cmp.Or(cfg.KeepJobs, DefaultJobs),
		keepEvidence: defaultEvidence,
		dirty:        make(chan struct{}, 1),
		urgent:       make(chan struct{}, 1),
		unwritten:    make(chan struct{}, 1),
		pending:      newBatch(),
		tasks:        newIndex("task"),
		jobs:         newIndex("job"),
		parts:        make(map[protocol.TaskID]struct{}),
		peers:        make(map[peer.ID]remembered),
		held:         heldIndex{byNonce: make(map[protocol.Nonce]*list.Element), limit: heldQuota},
	}
	s.room.L = &s.mu
	s.standings, s.credits, s.guests = newPeerRecords(standingBucket), newPeerRecords(creditBucket), newPeerRecords(guestsBucket)
	if err := s.open(cmp.Or(cfg.KeepBlobs, defaultBlobBytes)); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Store) open(keepBlobs int64) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fileError("make the home", s.dir, err)
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return fileError("open the home", s.dir, err)
	}
	if s.lock, err = lockHome(s.root); err != nil {
		return err
	}
	if err := emptyTemp(s.root); err != nil {
		return fileError("empty", s.path(tempDir), err)
	}
	if s.db, err = openDatabase(s.root, databaseFile); err != nil {
		return err
	}
	if err := s.openJournal(); err != nil {
		return err
	}
	if s.blobs, err = openBlobs(s.root, keepBlobs, s.log); err != nil {
		return fileError("read", s.path(blobDir), err)
	}
	if err := s.load(); err != nil {
		return err
	}
	return s.commit() // the deletion of what is kept no longer
}

// load reads what is kept in memory.
func (s *Store) load() error {
	s.sequence.db = s.db
	return s.db.view(func(tx *bbolt.Tx) error {
		if err := s.loadTasks(tx); err != nil {
			return err
		}
		if err := s.loadJobs(tx); err != nil {
			return err
		}
		if err := s.loadEvidence(tx); err != nil {
			return err
		}
		if err := s.loadHeld(tx); err != nil {
			return err
		}
		for _, r := range []*peerRecords{&s.standings, &s.credits, &s.guests} {
			if err := r.load(tx); err != nil {
				return s.db.damage(err)
			}
		}
		s.sequence.load(tx)
		return s.loadPeers(tx)
	})
}

// Run writes what is saved and evicts blobs until ctx is done. Everything
// that was pending then is in the database when it returns. It returns an error when
// that failed, or when the database turns out to be damaged.
//
// Saves work without it too, each caller then committing for itself when it
// must.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.blobs.run(ctx) })
	wg.Go(func() { s.runJournal(ctx) })
	defer cancel()
	return s.runCommits(ctx)
}

// Close commits what was saved since [Store.Run] has returned, and gives the
// home free.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.room.Broadcast()
	s.mu.Unlock()
	err := s.commit()
	return errors.Join(err, s.release())
}

// release closes whatever is open.
func (s *Store) release() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
	}
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	return errors.Join(errs...)
}

// Blobs returns the content-addressed files of the home.
func (s *Store) Blobs() *Blobs { return s.blobs }

func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// fileError says that doing what to the file at path failed because of err.
func fileError(what, path string, err error) *protocol.Error {
	var e *os.PathError
	if errors.As(err, &e) {
		err = e.Err // path says more than e's own
	}
	return protocol.Errorf(protocol.CodeFile, "cannot %s %s: %v", what, path, err)
}
