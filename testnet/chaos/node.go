//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spare-network/spare/node/api/client"
)

const (
	networkName  = "chaos"
	wirePort     = 4001 // where each node listens that has an address of its own
	startTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
	askEvery     = 20 * time.Millisecond
)

// node is one participant, by one process after the other.
type node struct {
	number  int
	home    string
	log     string // beside the home, which may be full
	command []string
	env     []string
	api     *client.Client

	process *os.Process   // of whoever makes it suffer; nil: none runs
	ended   chan struct{} // closed when that has ended
	mounted bool          // its home is a small disk of its own

	mu   sync.Mutex
	peer string // who it is, or was last
}

func (n *node) name() string { return "n" + strconv.Itoa(n.number+1) }

func (n *node) who() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peer
}

// start starts its process and returns its addresses when it answers.
func (n *node) start(ctx context.Context) ([]string, error) {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(n.command[0], n.command[1:]...)
	cmd.Env = append(os.Environ(), n.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for this process alone
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { // end waits for it
		defer close(ended)
		_ = cmd.Wait() // its end is what the report makes of it
	}()
	n.process, n.ended = cmd.Process, ended
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if s, err := n.api.Status(ctx); err == nil && s.PID == n.process.Pid {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.peer = s.Peer
			return s.Addrs, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not answer, see %s", n.name(), n.log)
		case <-ended:
			return nil, fmt.Errorf("%s ended as it started, see %s", n.name(), n.log)
		case <-time.After(askEvery):
		}
	}
}

// runs reports whether its process has not ended.
func (n *node) runs() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// kill kills its process, and waits for its end.
func (n *node) kill() error {
	err := n.process.Kill()
	<-n.ended
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return err
}

// end ends its process in good order, if it can.
func (n *node) end() error {
	if !n.runs() {
		return nil
	}
	for _, s := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		_ = n.process.Signal(s) // it may have ended
	}
	select {
	case <-n.ended:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("%s does not end on SIGTERM", n.name()), n.kill())
	}
}

// newcomer makes it start as somebody else the next time.
func (n *node) newcomer() error { return os.Remove(filepath.Join(n.home, "identity.key")) }

// clock is the file that tells its process how far its clock is off.
func (n *node) clock() string { return n.log + ".clock" }

// setClock has its clock go wrong by so much.
func (n *node) setClock(by time.Duration) error {
	if err := os.WriteFile(n.clock(), []byte(strconv.Itoa(int(by.Seconds()))), 0o600); err != nil {
		return err
	}
	return n.process.Signal(syscall.SIGUSR1)
}

// diskSize is what a small disk holds: the program compiled, and not much more.
const diskSize = "64m"

// mount makes its home a small disk.
func (n *node) mount(ctx context.Context) error {
	said, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "mode=700,size="+diskSize, "chaos", n.home).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount: %w: %s", err, said)
	}
	n.mounted = true
	return nil
}

func (n *node) unmount() error {
	if !n.mounted {
		return nil
	}
	if said, err := exec.Command("umount", n.home).CombinedOutput(); err != nil {
		return fmt.Errorf("umount: %w: %s", err, said)
	}
	n.mounted = false
	return nil
}

func (n *node) filler() string { return filepath.Join(n.home, "filler") }

// fill fills its disk to the last byte.
func (n *node) fill() (err error) {
	f, err := os.Create(n.filler())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		switch _, err := f.Write(chunk); {
		case errors.Is(err, syscall.ENOSPC):
			chunk = chunk[:len(chunk)/2]
		case err != nil:
			return err
		}
	}
	return nil
}

// transports are what may be asked to be listened on.
var transports = map[string][]string{
	"quic": {"/ip4/%s/udp/%d/quic-v1"},
	"tcp":  {"/ip4/%s/tcp/%d"},
	"both": {"/ip4/%s/tcp/%d", "/ip4/%s/udp/%d/quic-v1"},
}

// listen are the flags for a node that listens at an address.
func listen(transport, ip string, port int) (flags []string) {
	for _, form := range transports[transport] {
		flags = append(flags, "--listen", fmt.Sprintf(form, ip, port))
	}
	return flags
}

// same are the flags for a node that listens again where it did.
func same(addrs []string) (flags []string) {
	for _, a := range addrs {
		at, _, _ := strings.Cut(a, "/p2p/")
		if flag := []string{"--listen", at}; !slices.Contains(flags, at) {
			flags = append(flags, flag...)
		}
	}
	return flags
}
