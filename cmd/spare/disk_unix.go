//go:build unix

package main

import "golang.org/x/sys/unix"

// diskRoom is how many bytes a user may still write where dir is, and how many
// there are in all.
func diskRoom(dir string) (free, all uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	block := uint64(s.Bsize)
	return uint64(s.Bavail) * block, uint64(s.Blocks) * block, nil
}
