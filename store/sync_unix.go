//go:build unix

package store

import (
	"errors"
	"os"
)

// syncDir makes the names in a directory outlast a power cut.
func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
