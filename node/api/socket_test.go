//go:build unix

package api

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/spare-network/spare/protocol"
)

// TestSocketOfAGroup has a folder that is private, then for a group, then private
// again.
func TestSocketOfAGroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	path := filepath.Join(dir, "api.sock")
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	group := append(groups, os.Getegid())[0]
	for _, c := range []struct {
		group        string
		socket, home fs.FileMode
	}{
		{"", 0o600, 0o700},
		{strconv.Itoa(group), 0o660, 0o710},
		{"", 0o600, 0o700},
	} {
		l, err := listenSocket(path, c.group)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{path: c.socket, dir: c.home} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("group %q: %s has mode %o, want %o", c.group, name, got, want)
			}
			if s, ok := info.Sys().(*syscall.Stat_t); c.group != "" && (!ok || int(s.Gid) != group) {
				t.Errorf("%s is of another group than %d", name, group)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listenSocket(path, "no-such-group"); protocol.CodeOf(err) != protocol.CodeGroup {
		t.Errorf("of a group that is not there it says %v", err)
	}
	if os.Geteuid() != 0 {
		if err := CheckGroup("0"); protocol.CodeOf(err) != protocol.CodeGroup {
			t.Errorf("of a group that it is no member of it says %v", err)
		}
	}
}
