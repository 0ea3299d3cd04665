package api

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/spare-network/spare/protocol"
)

// maxSocketPath is the shortest limit of the systems that spare runs on (macOS;
// Linux has 108), in bytes with the closing NUL.
const maxSocketPath = 104

// SocketPath returns the path of the socket of the node in home, or
// [protocol.CodeSocketPath] when no system would take it.
func SocketPath(home string) (string, error) {
	path := filepath.Join(home, "api.sock")
	return path, checkPath(path)
}

func checkPath(path string) error {
	if len(path) < maxSocketPath {
		return nil
	}
	return protocol.Errorf(protocol.CodeSocketPath, "the path of the socket has %d bytes, at most %d work: %s",
		len(path), maxSocketPath-1, path).WithHint("choose a shorter home with --home or SPARE_HOME")
}

// listenSocket opens the socket for this user and the members of a group, if one
// is named.
func listenSocket(path, group string) (net.Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, protocol.Errorf(protocol.CodeFile, "%s is in the way: it is not a socket", path).
				WithHint("move it away")
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := admit(path, gid); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket: %w", err), l.Close())
	}
	return l, nil
}

// admit lets this user use the socket and, unless the group is noGroup, its
// members as well: they pass through the folder, and see nothing else in it.
func admit(path string, gid int) error {
	if gid == noGroup {
		return os.Chmod(path, 0o600)
	}
	dir := filepath.Dir(path)
	err := os.Chown(path, -1, gid)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err == nil {
		err = os.Chown(dir, -1, gid)
	}
	if err == nil {
		err = os.Chmod(dir, 0o710)
	}
	return err
}

const noGroup = -1

// CheckGroup returns [protocol.CodeGroup] when this process cannot give a socket
// to the members of a group. An empty name is no group.
func CheckGroup(name string) error {
	_, err := groupID(name)
	return err
}

// groupID is the number of a group by its name or number, or noGroup for "".
func groupID(name string) (int, error) {
	if name == "" {
		return noGroup, nil
	}
	if runtime.GOOS == "windows" {
		return 0, protocol.Errorf(protocol.CodeGroup, "this system's sockets know no groups").WithHint("leave it away")
	}
	gid, err := strconv.Atoi(name)
	if err != nil || gid < 0 {
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, protocol.Errorf(protocol.CodeGroup, "there is no group %.40q", name).
				WithHint("'getent group' lists them; 'sudo groupadd --system NAME' makes one")
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return 0, fmt.Errorf("number of group %s: %w", name, err)
		}
	}
	mine, err := os.Getgroups()
	if err != nil {
		return 0, fmt.Errorf("read own groups: %w", err)
	}
	if os.Geteuid() != 0 && gid != os.Getegid() && !slices.Contains(mine, gid) {
		return 0, protocol.Errorf(protocol.CodeGroup, "the node is no member of the group %s, and so cannot let others of it use its socket", name).
			WithHint("see 'id', add the node's user with 'sudo usermod -aG %s USER', and log in again", name)
	}
	return gid, nil
}

// makePrivate sees to it that nobody else can reach into dir, which also
// covers the moment between a socket's birth and its chmod.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot make the home: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot read the home: %v", err)
	}
	if info.Mode()&os.ModeSticky != 0 {
		return protocol.Errorf(protocol.CodeFile, "%s is shared with other users", dir).
			WithHint("choose a folder of your own with --home or SPARE_HOME")
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot make the home private: %v", err)
	}
	return nil
}
