package store

import (
	"errors"
	"io/fs"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// addedFile lists what the node keeps for its network.
const addedFile = "added.pb"

// Added returns what the node keeps for its network, as it was saved.
func (s *Store) Added() (*protocol.AddedList, error) {
	list := new(protocol.AddedList)
	b, err := readFile(s.root, addedFile, protocol.MaxAdded*(protocol.MaxText+128))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return list, nil
	case err == nil:
		err = proto.Unmarshal(b, list)
	}
	if err != nil {
		return nil, fileError("read", s.path(addedFile), err)
	}
	return list, nil
}

// SaveAdded saves it.
func (s *Store) SaveAdded(list *protocol.AddedList) error {
	b, err := proto.Marshal(list)
	if err == nil {
		err = writeFile(s.root, addedFile, b)
	}
	if err != nil {
		return fileError("write", s.path(addedFile), err)
	}
	return nil
}
