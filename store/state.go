package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

const (
	stateDir = "state"
	// maxState is far more than anybody decides by hand, in bytes.
	maxState = 64 << 10
)

// State returns what [Store.SaveState] has stored by a name, or nil. The names
// are those of networks.
func (s *Store) State(name string) ([]byte, error) {
	if err := checkName("state", name); err != nil {
		return nil, err
	}
	file := stateFile(name)
	record, err := readFile(s.root, file, maxState)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fileError("read", s.path(file), err)
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

func stateFile(name string) string { return path.Join(stateDir, name+".json") }
