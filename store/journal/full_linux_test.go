package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestFullDiskStopsNoJournalThatHasSegments fills a disk of 4 MiB, which the
// child mounts in a namespace of its own.
func TestFullDiskStopsNoJournalThatHasSegments(t *testing.T) {
	t.Parallel()
	cmd := command("full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) || strings.Contains(string(out), "error mount") {
		t.Skipf("no user namespaces here: %v %s", err, out)
	}
	if err != nil || string(out) != "fine\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func fillDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3500k"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	j, _, err := tryOpen(dir, testID, 0)
	if err != nil {
		return err
	}
	record := make([]byte, MaxRecord)
	commit := func() error {
		n, err := j.Append(record)
		if err != nil {
			return err
		}
		return j.Commit(context.Background(), n)
	}
	for range 3 {
		if err := commit(); err != nil {
			return err
		}
	}
	for range 2 {
		if err := commit(); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("the fourth MiB: %w", err)
		}
	}
	j.Checkpointed(1)
	if err := j.Commit(context.Background(), 4); err != nil {
		return fmt.Errorf("there is a segment again: %w", err)
	}
	if err := j.Close(); err != nil {
		return err
	}
	j, records, err := tryOpen(dir, testID, 1)
	if err != nil || len(records) != 3 {
		return fmt.Errorf("%d records: %w", len(records), err)
	}
	fmt.Println("fine")
	return j.Close()
}
