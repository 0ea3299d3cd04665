package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/spare-network/spare/protocol"
)

const (
	databaseFile = "store.db"
	// format is the version of what is in the database.
	format = 1
	// minDatabase is the size of bbolt's smallest file: four pages.
	minDatabase = 4 * 4096
)

var (
	tasksBucket    = []byte("tasks")    // submission number, task ID -> record
	filesBucket    = []byte("files")    // the same -> list of its output files, where there are any
	jobsBucket     = []byte("jobs")     // submission number, job ID -> protocol.Job
	resultsBucket  = []byte("results")  // submission number of the job, number of the result -> record
	partsBucket    = []byte("parts")    // JOB/INDEX -> protocol.Task that is open
	evidenceBucket = []byte("evidence") // number -> protocol.Evidence
	heldBucket     = []byte("held")     // number, nonce -> result that waits to be acknowledged
	peersBucket    = []byte("peers")    // peer ID -> remembered peer
	standingBucket = []byte("standing") // peer ID -> number of the save, what others keep of it
	creditBucket   = []byte("credit")   // the same
	guestsBucket   = []byte("guests")   // the same
	nodeBucket     = []byte("node")     // single values, by the keys below

	sequenceKey  = []byte("offer-sequence")
	formatKey    = []byte("format")
	journalIDKey = []byte("journal-id") // 8 random bytes
	guestBookKey = []byte("guest-book") // what others keep of all guests together
	journalKey   = []byte("journal")    // number of the last record of the journal that is in the database
)

var (
	// journaled are the buckets whose changes also go to the journal. What is
	// in the others is kept for the next days rather than for the next task.
	journaled = map[string]bool{
		string(tasksBucket): true, string(filesBucket): true, string(heldBucket): true,
		string(jobsBucket): true, string(resultsBucket): true, string(partsBucket): true,
	}
	// numbered are those whose keys only grow.
	numbered = map[string]bool{
		string(tasksBucket): true, string(filesBucket): true, string(heldBucket): true, string(evidenceBucket): true,
		string(jobsBucket): true, string(resultsBucket): true,
	}
)

// database is a bbolt file. bbolt trusts its file: a damaged one makes it
// panic, or read outside its memory map, so every use goes through guard.
type database struct {
	path    string
	bolt    *bbolt.DB
	damaged atomic.Pointer[protocol.Error] // since then bbolt may hold locks for ever
}

func openDatabase(root *os.Root, name string) (*database, error) {
	db := &database{path: filepath.Join(root.Name(), name)}
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := createDatabase(root, name); err != nil {
			return nil, fileError("make", db.path, err)
		}
	case err != nil:
		return nil, fileError("open", db.path, err)
	case info.Size() < minDatabase:
		return nil, db.damage(fmt.Errorf("%d bytes only", info.Size()))
	}
	var file *os.File
	err = db.guard(func() (err error) {
		db.bolt, err = bbolt.Open(db.path, 0o600, &bbolt.Options{
			Timeout:      time.Second, // the home is locked already
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(_ string, flag int, mode fs.FileMode) (_ *os.File, err error) {
				file, err = root.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
	case db.damaged.Load() != nil:
		_ = file.Close() // bbolt has not, and nothing was written
		return nil, err
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, db.damage(err)
	default:
		return nil, fileError("open", db.path, err)
	}
	if err := db.update(makeBuckets); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// createDatabase makes an empty database under its name at once, since a kill
// in the middle of making it would leave one that cannot be opened.
func createDatabase(root *os.Root, name string) error {
	temp := tempDir + "/" + name
	bolt, err := bbolt.Open(filepath.Join(root.Name(), tempDir, name), 0o600, &bbolt.Options{
		OpenFile: func(_ string, flag int, mode fs.FileMode) (*os.File, error) {
			return root.OpenFile(temp, flag, mode)
		},
	})
	if err != nil {
		return err
	}
	if err := bolt.Close(); err != nil {
		return err
	}
	return placeTemp(root, temp, name)
}

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range [][]byte{
		tasksBucket, filesBucket, jobsBucket, resultsBucket, partsBucket, evidenceBucket, heldBucket, peersBucket, standingBucket, creditBucket, guestsBucket, nodeBucket,
	} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	node := tx.Bucket(nodeBucket)
	if node.Get(journalIDKey) == nil {
		id := make([]byte, 8)
		rand.Read(id)
		if err := node.Put(journalIDKey, id); err != nil {
			return err
		}
	}
	switch v := node.Get(formatKey); {
	case v == nil:
		return node.Put(formatKey, []byte{format})
	case len(v) != 1 || v[0] != format:
		return protocol.Errorf(protocol.CodeFile, "%s has format %x, this version of spare knows %d", tx.DB().Path(), v, format).
			WithHint("use the version that wrote it, or another directory with --home")
	}
	return nil
}

func (db *database) update(write func(*bbolt.Tx) error) error {
	return db.explain("write", db.guard(func() error { return db.bolt.Update(write) }))
}

func (db *database) view(read func(*bbolt.Tx) error) error {
	return db.explain("read", db.guard(func() error { return db.bolt.View(read) }))
}

// explain names the file in an error of bbolt or of the system.
func (db *database) explain(what string, err error) error {
	var known *protocol.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return fileError(what, db.path, err)
}

// guard turns panics and memory faults of f into an error that names the file.
func (db *database) guard(f func() error) (err error) {
	if known := db.damaged.Load(); known != nil {
		return known
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			db.damaged.Store(db.damage(fmt.Errorf("%v", cause)))
			err = db.damaged.Load()
		}
	}()
	return f()
}

// damage says that the file cannot be used.
func (db *database) damage(cause error) *protocol.Error {
	return protocol.Errorf(protocol.CodeFile, "the database %s is damaged: %.200s", db.path, cause.Error()).
		WithHint("move it away and start again; tasks and results in it are lost, the identity and the networks stay")
}

func (db *database) close() error {
	if db.damaged.Load() != nil {
		return nil // the process is about to end
	}
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
