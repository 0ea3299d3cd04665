package jail

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights to files by version of Landlock's interface, and what each may be
// granted below the directory. See Documentation/userspace-api/landlock.rst.
const (
	rightsOf1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // the first 13
	rightsOf2 = rightsOf1 | unix.LANDLOCK_ACCESS_FS_REFER
	rightsOf3 = rightsOf2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	rightsOf5 = rightsOf3 | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	rightsOf9 = rightsOf5 | unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	netOf4  = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	netOf10 = netOf4 | unix.LANDLOCK_ACCESS_NET_BIND_UDP | unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP

	mayRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR
)

// ownSignals is the erratum with whose repair the threads of a process may
// signal each other though each has a domain of its own. Go needs that.
const ownSignals = 1 << 1

// landlock denies this process all files but those below dir, and TCP and
// signals to others as far as the kernel knows how.
func landlock(dir string, writable bool) error {
	version, err := landlockInfo(unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return errors.New("the kernel has none, or something denies its use")
	case errors.Is(err, unix.EOPNOTSUPP):
		return errors.New("it was turned off when the system started")
	case err != nil:
		return err
	}
	errata, err := landlockInfo(unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if err != nil {
		errata = 0 // a kernel that cannot tell
	}
	a := rules(version, errata&ownSignals != 0)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a), 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	defer func() { _ = unix.Close(int(fd)) }() // it has no data
	if err := grant(int(fd), dir, writable, a.Handled_access_fs); err != nil {
		return err
	}
	if version >= 8 { // all threads at once; the calling one needs no_new_privs
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
		_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
		if errno != 0 {
			return fmt.Errorf("landlock_restrict_self: %w", errno)
		}
		return nil
	}
	if err := onAllThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	return onAllThreads("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}

// landlockInfo asks for the version or the errata of the kernel's Landlock.
func landlockInfo(flag uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, flag)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rules denies all that the version can deny. Kernels accept the struct in any
// length whose excess is zero.
func rules(version int, scopeSignals bool) unix.LandlockRulesetAttr {
	var a unix.LandlockRulesetAttr
	switch {
	case version >= 9:
		a.Handled_access_fs = rightsOf9
	case version >= 5:
		a.Handled_access_fs = rightsOf5
	case version >= 3:
		a.Handled_access_fs = rightsOf3
	case version == 2:
		a.Handled_access_fs = rightsOf2
	default:
		a.Handled_access_fs = rightsOf1
	}
	switch {
	case version >= 10:
		a.Handled_access_net = netOf10
	case version >= 4:
		a.Handled_access_net = netOf4
	}
	if version >= 6 {
		a.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		if scopeSignals {
			a.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
	}
	return a
}

// grant permits the use of what is below dir.
func grant(ruleset int, dir string, writable bool, known uint64) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // it has no data
	p := unix.LandlockPathBeneathAttr{Allowed_access: mayRead, Parent_fd: int32(fd)}
	if writable {
		p.Allowed_access |= mayWrite & known
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&p)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule: %w", errno)
	}
	return nil
}
