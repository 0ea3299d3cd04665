//go:build unix

package client

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/spare-network/spare/protocol"
)

// notAdmitted says to whom the node belongs whose socket may not be used: to a
// group's members, where the folder lets such pass, or to one user alone.
func notAdmitted(socket string) error {
	info, err := os.Stat(filepath.Dir(socket))
	if err != nil || info.Mode().Perm()&0o011 != 0o010 {
		return notYours(socket)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return notYours(socket)
	}
	gid := strconv.FormatUint(uint64(owner.Gid), 10)
	group, me, isMember := gid, "USER", false
	if g, err := user.LookupGroupId(gid); err == nil {
		group = g.Name
	}
	if u, err := user.Current(); err == nil {
		me = u.Username
		all, err := u.GroupIds()
		isMember = err == nil && slices.Contains(all, gid)
	}
	if isMember { // as the system has it now, and this session does not
		return protocol.Errorf(protocol.CodeGroup, "the node at %s is for the group %s, which you have joined since you logged in", socket, group).
			WithHint("log in again, or begin a shell with 'newgrp %s'", group)
	}
	return protocol.Errorf(protocol.CodeGroup, "the node at %s is for members of the group %s, and you are none", socket, group).
		WithHint("sudo usermod -aG %s %s, and log in again; or start a node of your own: spare up", group, me)
}
