package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/spare-network/spare/protocol"
)

const (
	lockFile = "lock"
	pidFile  = "pid"
)

// homeLock says that this process runs in a home. The operating system drops
// the lock with the process, however that ends; the PID beside it is only for
// the message, and stands in a file of its own because Windows lets nobody
// read a locked one.
type homeLock struct {
	root *os.Root
	lock *flock.Flock
}

func lockHome(root *os.Root) (*homeLock, error) {
	path := filepath.Join(root.Name(), lockFile)
	l := &homeLock{root: root, lock: flock.New(path)}
	locked, err := l.lock.TryLock()
	if err != nil {
		return nil, fileError("lock", path, err)
	}
	if !locked {
		return nil, homeInUse(root)
	}
	if err := root.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fileError("write", filepath.Join(root.Name(), pidFile), err), l.lock.Unlock())
	}
	return l, nil
}

func homeInUse(root *os.Root) *protocol.Error {
	text, err := readFile(root, pidFile, 32)
	pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || bad != nil || pid < 1 {
		return protocol.Errorf(protocol.CodeHomeInUse, "another node runs in %s", root.Name()).
			WithHint("stop it, or choose another directory with --home")
	}
	return protocol.Errorf(protocol.CodeHomeInUse, "the node with PID %d runs in %s", pid, root.Name()).
		WithHint("stop it with 'kill %d', or choose another directory with --home", pid)
}

func (l *homeLock) release() error {
	err := l.root.Remove(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.lock.Unlock())
}

// Delete deletes a home and everything in it. A node that runs there has until the
// context's deadline to end; then it is a [protocol.CodeHomeInUse], and all is kept.
func Delete(ctx context.Context, home string) error {
	root, err := os.OpenRoot(home)
	if err != nil {
		return fileError("open the home", home, err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	lock := flock.New(filepath.Join(home, lockFile))
	_, err = lock.TryLockContext(ctx, 50*time.Millisecond)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return homeInUse(root).WithHint("its home is kept; stop it, and delete %s yourself", home)
	case err != nil:
		return fileError("lock", lock.Path(), err)
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		if e.Name() != lockFile {
			err = errors.Join(err, root.RemoveAll(e.Name()))
		}
	}
	// Windows deletes nothing that is open. What a node makes that starts now is not
	// deleted: the home is not empty then.
	err = errors.Join(err, lock.Close(), root.Close())
	if err == nil {
		err = os.Remove(lock.Path())
	}
	if err == nil {
		err = os.Remove(home)
	}
	if err != nil {
		return fileError("delete", home, err).WithHint("see who may write to %s", home)
	}
	return nil
}
