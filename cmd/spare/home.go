package main

import (
	"context"
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

// node returns a client of the node that runs in this home. Where no home is
// named and none runs in the user's own, it is the node that the machine's
// service runs, if there is one.
func (h home) node() (*client.Client, error) {
	dir, err := h.path()
	if err != nil {
		return nil, err
	}
	socket, err := api.SocketPath(dir)
	if err != nil {
		return nil, err
	}
	own := client.New(socket)
	if h != "" || os.Getenv("SPARE_HOME") != "" || systemHome == "" {
		return own, nil
	}
	return ownOr(own, filepath.Join(systemHome, filepath.Base(socket))), nil
}

// ownOr returns own, unless no node answers there and one listens at the socket,
// which may be for others.
func ownOr(own *client.Client, socket string) *client.Client {
	silent := func(c *client.Client) bool { // which a socket of this machine is known to be at once
		return protocol.CodeOf(c.Reach(context.Background())) == protocol.CodeNoNode
	}
	if system := client.New(socket); silent(own) && !silent(system) {
		return system
	}
	return own
}
