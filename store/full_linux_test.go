package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spare-network/spare/protocol"
)

// TestFullDiskIsToldAndSurvived runs a node on a file system of 4 MiB, which
// the child mounts in a namespace of its own.
func TestFullDiskIsToldAndSurvived(t *testing.T) {
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

func fillDisk(home string) error {
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "size=4m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	s, err := Open(home, Config{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()

	before := newTask()
	if err := s.SaveTaskNow(ctx, before); err != nil {
		return err
	}
	_, _, err = s.Blobs().Put(io.LimitReader(rand.Reader, 8<<20), 8<<20)
	if err := full("a blob", err); err != nil {
		return err
	}
	spool := s.Blobs().NewSpool(8 << 20)
	_, err = io.Copy(spool, io.LimitReader(rand.Reader, 8<<20))
	if err := full("a spool", err); err != nil {
		return err
	}
	spool.Discard()
	if left, err := os.ReadDir(filepath.Join(home, tempDir)); err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %w", left, err)
	}

	filler, err := os.Create(filepath.Join(home, "filler"))
	if err != nil {
		return err
	}
	_, err = io.Copy(filler, io.LimitReader(rand.Reader, 8<<20))
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	// The journal has room that is its own, and then none any more.
	tasks := []*protocol.Task{before}
	for err = nil; err == nil && len(tasks) < 500; {
		task := conclude(newTask(), protocol.NewBlob(make([]byte, protocol.MaxInline)))
		tasks = append(tasks, task) // the last one is refused, and yet kept
		err = s.SaveTaskNow(ctx, task)
	}
	if len(tasks) < 4 {
		return fmt.Errorf("%d tasks were taken on a full disk", len(tasks)-2)
	}
	if err := full("a task", err); err != nil {
		return err
	}
	if err := errors.Join(filler.Close(), os.Remove(filler.Name())); err != nil {
		return err
	}
	after := newTask()
	if err := s.SaveTaskNow(ctx, after); err != nil {
		return fmt.Errorf("there is room again: %w", err)
	}
	cancel()
	if err := errors.Join(<-ran, s.Close()); err != nil {
		return err
	}
	if s, err = Open(home, Config{}); err != nil {
		return err
	}
	for _, task := range append(tasks, after) {
		if _, err := s.Task(task.Id); err != nil {
			return err
		}
	}
	fmt.Println("fine")
	return s.Close()
}

// full returns an error unless err says that the disk is full, and where.
func full(what string, err error) error {
	if protocol.CodeOf(err) != protocol.CodeFile || !strings.Contains(err.Error(), "no space left on device") {
		return fmt.Errorf("%s on a full disk: %w", what, err)
	}
	return nil
}
