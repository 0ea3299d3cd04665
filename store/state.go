package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spare-network/spare/protocol"
)

const (
	stateDir = "state"
	// maxState is far more than anybody decides by hand, in bytes.
	maxState = 512 << 10
)

// State returns what [Store.SaveState] has stored by a name, or nil. The names
// are those of networks.
func (s *Store) State(name string) ([]byte, error) {
	if err := checkName("state", name); err != nil {
		return nil, err
	}
	return readState(s.root, s.dir, name)
}

func readState(root *os.Root, dir, name string) ([]byte, error) {
	file := stateFile(name)
	record, err := readFile(root, file, maxState)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fileError("read", filepath.Join(dir, filepath.FromSlash(file)), err)
	}
	return record, nil
}

// SaveState stores a small record in place of what was stored by its name
// before. It outlasts a power cut when SaveState returns, and so is a file of
// its own: what people decide by hand is rare.
func (s *Store) SaveState(name string, record []byte) error {
	if err := checkName("state", name); err != nil {
		return err
	}
	if len(record) > maxState {
		return fmt.Errorf("save %s of %d bytes: at most %d", name, len(record), maxState)
	}
	s.secrets.Lock()
	defer s.secrets.Unlock()
	if err := writeFile(s.root, stateFile(name), record); err != nil {
		return fileError("write", s.path(stateFile(name)), err)
	}
	return nil
}

// Resting is a home that is only read, while no node need run in it.
type Resting string

// State returns what [Store.SaveState] has stored by a name, or nil.
func (dir Resting) State(name string) ([]byte, error) {
	if err := checkName("state", name); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(string(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError("open the home", string(dir), err)
	}
	defer root.Close()
	return readState(root, string(dir), name)
}

// SaveState fails.
func (dir Resting) SaveState(string, []byte) error {
	return protocol.Errorf(protocol.CodeNoNode, "no node runs in %s that could keep it", string(dir)).
		WithHint("start one with 'spare up'")
}

func stateFile(name string) string { return path.Join(stateDir, name+".json") }
