package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/spare-network/spare/node/api/apitest"
)

// terminal is what a command writes to one.
type terminal struct {
	t    *testing.T
	keys *os.File

	mu   sync.Mutex
	text bytes.Buffer
}

func (s *terminal) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.keys.Read(b)
		s.mu.Lock()
		s.text.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// all is what was written so far.
func (s *terminal) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// shows waits for a text after a point in what is written, and returns the point
// after all of it. That it comes within a minute is all that is asked.
func (s *terminal) shows(after int, text string) int {
	s.t.Helper()
	return s.await(after, text, ansi.Strip)
}

func (s *terminal) await(after int, text string, as func(string) string) int {
	s.t.Helper()
	for range 600 {
		if all := s.all(); strings.Contains(as(all[after:]), text) {
			return len(all)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("it does not show %q but %q", text, s.all()[after:])
	return 0
}

func (s *terminal) press(keys string) {
	s.t.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// TestTopInATerminal starts, looks, rules, sees the node go and come back, and quits.
func TestTopInATerminal(t *testing.T) {
	home, node := apitest.Home(t), apitest.New(t.TempDir())
	_, stop := apitest.Serve(t, node, home)
	master, tty, err := pty.Open()
	if err != nil {
		t.Skip("this system gives no terminal: ", err)
	}
	defer master.Close()
	defer tty.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before := modes(t, tty)
	s := &terminal{t: t, keys: master}
	go s.read() // until the terminal is closed
	cmd := exec.Command("spare", "--home", home, "top")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill() //nolint:errcheck // it has ended by then, or the test has failed

	at := s.shows(0, "live")
	s.press("2")
	at = s.shows(at, apitest.Other[:16])
	s.press("p")
	at = s.shows(at, "until resumed")
	s.press("p")
	at = s.shows(at, "paused")
	if d := node.Donation(); d.State != "paused" {
		t.Errorf("the node is %s", d.State)
	}
	stop()
	at = s.shows(at, "STALE")
	_, stop = apitest.Serve(t, node, home)
	defer stop()
	at = s.shows(at, "live")
	s.press("q")
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not quit")
	}
	if after := modes(t, tty); after != before {
		t.Errorf("the terminal is left as %+v, was %+v", after, before)
	}
	for _, undo := range []string{ansi.ResetModeAltScreenSaveCursor, ansi.SetModeTextCursorEnable} {
		s.await(at, undo, func(text string) string { return text })
	}
	for _, colour := range []string{"\x1b[31", "\x1b[32", "\x1b[33"} {
		if strings.Contains(s.all(), colour) {
			t.Errorf("there is a colour, %q, despite NO_COLOR", colour)
		}
	}
}

// modes are those of a terminal.
func modes(t *testing.T, tty *os.File) unix.Termios {
	m, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}
