package apitest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spare-network/spare/node/api"
)

// Home makes a folder whose path is short enough for a socket, and removes it
// after the test.
func Home(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spare")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Serve serves n on api.sock in home, with a dashboard, and returns the server
// and a function that stops it and waits, which the test's end does too.
func Serve(t testing.TB, n *Node, home string) (*api.Server, func()) {
	t.Helper()
	s, err := api.New(api.Config{
		Socket: filepath.Join(home, "api.sock"), Dashboard: "127.0.0.1:0", Token: Token, Version: "v0.0.0-test",
		Tasks: n, Jobs: NoJobs{}, Keeper: n, Blobs: n, Data: n, Node: n, Owner: n, Host: n, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}
