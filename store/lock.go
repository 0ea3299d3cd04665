package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

func homeInUse(root *os.Root) error {
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
