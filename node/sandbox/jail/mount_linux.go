package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// moveInto makes dir all that this process sees of a file system: its new
// root, with no set-user-ID programs, devices or programs in it.
func moveInto(dir string, writable bool) error {
	if err := ownNamespace(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind directory: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if !writable {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("protect directory: %w", err)
	}
	if err := unix.Chdir(dir); err != nil { // the mount, not what it covers
		return fmt.Errorf("enter directory: %w", err)
	}
	if err := becomeRoot(); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// becomeRoot makes the working directory, a mount, the root.
func becomeRoot() error {
	// "." twice puts the old root over the new one, from where it is taken away:
	// see pivot_root(2).
	err := unix.PivotRoot(".", ".")
	if err == nil {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leave old root: %w", err)
		}
		return nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("change root: %w", err)
	}
	// The old root is the kernel's first one, an initramfs, which stays. Without
	// capabilities nobody gets back to it.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return nil
}

// ownNamespace makes sure that the mounts about to change are this process's
// own: by its user namespace, which holds one user where a Box made it, and
// has no right over the mounts of any other.
func ownNamespace() error {
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	if fields := bytes.Fields(users); len(fields) != 3 || string(fields[2]) != "1" {
		return errNeedsUserNamespace
	}
	return nil
}
