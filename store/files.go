package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

const tempDir = "tmp"

// All files are reached through an [os.Root], whose handles let Windows rename
// and remove an open file as other systems do.

// newTemp makes an empty file that lives until it is renamed, removed, or the
// home is opened the next time.
func newTemp(root *os.Root) (file *os.File, name string, err error) {
	name = path.Join(tempDir, rand.Text())
	file, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return file, name, err
}

// emptyTemp removes what a killed node has left behind.
func emptyTemp(root *os.Root) error {
	return errors.Join(root.RemoveAll(tempDir), root.Mkdir(tempDir, 0o700))
}

// placeTemp gives the synced temporary file its name, which outlasts a power
// cut when placeTemp returns.
func placeTemp(root *os.Root, temp, name string) error {
	if err := renameTemp(root, temp, name); err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

// renameTemp gives a temporary file its name, whose directory is made when it
// is absent.
func renameTemp(root *os.Root, temp, name string) error {
	dir := path.Dir(name)
	switch err := root.Mkdir(dir, 0o700); {
	case err == nil:
		if err := syncDir(root, path.Dir(dir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return root.Rename(temp, name)
}

// writeFile writes a file whole or not at all, mode 0600.
func writeFile(root *os.Root, name string, data []byte) error {
	file, temp, err := newTemp(root)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = placeTemp(root, temp, name)
	}
	if err != nil {
		_ = root.Remove(temp) // the error that counts is returned
	}
	return err
}

// readFile reads a file of at most limit bytes.
func readFile(root *os.Root, name string, limit int) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}
