package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// home is the value of --home, or empty.
type home string

// path returns the node's directory as an absolute path.
func (h home) path() (string, error) {
	dir := string(h)
	if dir == "" {
		dir = os.Getenv("SPARE_HOME")
	}
	if dir == "" {
		data := os.Getenv("XDG_DATA_HOME")
		// The XDG specification has relative paths ignored.
		if !filepath.IsAbs(data) {
			user, err := os.UserHomeDir()
			if err != nil {
				return "", protocol.Errorf(protocol.CodeFile, "there is no home directory: %v", err).WithHint("set SPARE_HOME")
			}
			data = filepath.Join(user, ".local", "share")
		}
		dir = filepath.Join(data, "spare")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeFile, "cannot find %s: %v", dir, err).WithHint("name a directory with --home or SPARE_HOME")
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		return "", protocol.Errorf(protocol.CodeFile, "the home %s is a file, or within one", dir).WithHint("name a directory with --home or SPARE_HOME")
	}
	return dir, nil
}

// command is how a command of this home begins on a command line.
func (h home) command() string {
	if h == "" {
		return "spare"
	}
	return "spare --home " + string(h)
}

// node returns a client of the node that runs in this home.
func (h home) node() (*client.Client, error) {
	dir, err := h.path()
	if err != nil {
		return nil, err
	}
	socket, err := api.SocketPath(dir)
	if err != nil {
		return nil, err
	}
	return client.New(socket), nil
}
