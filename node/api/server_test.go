package api_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

func config(n *apitest.Node, socket, dashboard string) api.Config {
	return api.Config{Socket: socket, Dashboard: dashboard, Token: apitest.Token, Tasks: n, Blobs: n, Data: n, Node: n, Owner: n, Logger: slog.New(slog.DiscardHandler)}
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	home := apitest.Home(t)
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(home, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := filepath.Join(home, "api.sock")
	for _, test := range []struct {
		name, socket, dashboard string
		code                    protocol.Code
	}{
		{"a socket path of 104 bytes", filepath.Join(home, strings.Repeat("x", 103-len(home))), "", protocol.CodeSocketPath},
		{"a file where the socket belongs", file, "", protocol.CodeFile},
		{"a home inside a file", filepath.Join(file, "home", "api.sock"), "", protocol.CodeFile},
		{"a home that all users share", filepath.Join(shared, "api.sock"), "", protocol.CodeFile},
		{"a dashboard for every machine", good, "0.0.0.0:0", protocol.CodeAddress},
		{"a dashboard for every machine, unsaid", good, ":0", protocol.CodeAddress},
		{"a dashboard by a name", good, "example.com:80", protocol.CodeAddress},
		{"a dashboard without a port", good, "127.0.0.1", protocol.CodeAddress},
		{"a dashboard on a port that is taken", good, taken.Addr().String(), protocol.CodeAddress},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.HasPrefix(test.name, "a home that all") && runtime.GOOS == "windows" {
				t.Skip("windows has no sticky folders")
			}
			s, err := api.New(config(apitest.New(home), test.socket, test.dashboard))
			if err == nil {
				t.Fatal("accepted", s.Close())
			}
			if protocol.CodeOf(err) != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
	// Nothing of the failures is left in the way.
	s, err := api.New(config(apitest.New(home), good, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketIsPrivateAndReplacesAnOldOne(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no file modes")
	}
	home := filepath.Join(apitest.Home(t), "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(home, "api.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false) // as after kill -9
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	_, stop := apitest.Serve(t, apitest.New(t.TempDir()), home)
	for path, want := range map[string]os.FileMode{home: 0o700, socket: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, info.Mode().Perm(), want, err)
		}
	}
	c := newCaller(t, home)
	if code, _, body := c.do("GET", "/healthz", ""); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	c.http.CloseIdleConnections()
	stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestShutdownEndsFollowers(t *testing.T) {
	home := apitest.Home(t)
	n := apitest.New(t.TempDir())
	_, stop := apitest.Serve(t, n, home)
	c := newCaller(t, home)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://spare/api/v1/tasks?follow=true", strings.NewReader(submission("block")))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `{"stdout"`) {
		continue // up to where the program blocks
	}
	stop()
	if !lines.Scan() || !strings.Contains(lines.Text(), `"code":"E-SHUTDOWN"`) {
		t.Errorf("last line %q (%v)", lines.Text(), lines.Err())
	}
	if task, err := n.Task("aaaaaaaaaa"); err != nil || task.State.Ended() {
		t.Errorf("the task ended with the connection: %v %v", task, err)
	}
}

// talkative is a node whose settings are more than a connection holds.
type talkative struct{ *apitest.Node }

func (talkative) Settings() []api.Setting {
	return slices.Repeat([]api.Setting{{Key: "key", Value: strings.Repeat("x", 1000)}}, 20_000)
}

// TestReaderThatGoesIsNoFault has the server's log be empty when somebody goes away
// amid an answer, which huma gives a second status then.
func TestReaderThatGoesIsNoFault(t *testing.T) {
	home := apitest.Home(t)
	n := apitest.New(home)
	cfg := config(n, filepath.Join(home, "api.sock"), "")
	var log strings.Builder
	cfg.Jobs, cfg.Keeper, cfg.Host, cfg.Node = apitest.NoJobs{}, n, n, talkative{n}
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for range 20 {
		conn, err := net.Dial("unix", cfg.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /api/v1/settings HTTP/1.1\r\nHost: spare\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // the answer has begun
			t.Fatal(err)
		}
		conn.Close()
	}
	cancel()
	if err := <-ended; err != nil { // all handlers have ended with it
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("the log says\n%s", log.String())
	}
}
