package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

// failingReads is a node whose stored output cannot be read to its end.
type failingReads struct {
	*apitest.Node
	rest io.Reader // what comes after the first three bytes
}

func (n *failingReads) spoil(rc io.ReadCloser, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(rc, 3), n.rest), rc}, nil
}

func (n *failingReads) Output(id protocol.TaskID, fd int) (io.ReadCloser, error) {
	return n.spoil(n.Node.Output(id, fd))
}

func (n *failingReads) OpenFile(id protocol.TaskID, path string) (io.ReadCloser, uint64, error) {
	rc, size, err := n.Node.OpenFile(id, path)
	rc, err = n.spoil(rc, err)
	return rc, size, err
}

func TestLengthOfRawBytesIsAnnounced(t *testing.T) {
	_, c := serve(t)
	c.json("POST", "/api/v1/tasks", submission("leave /out/a"), new(api.Task))
	c.json("POST", "/api/v1/tasks", submission("exit 0"), new(api.Task))
	c.json("POST", "/api/v1/tasks", submission("pour"), new(api.Task))
	for path, want := range map[string]int64{
		"aaa/files/out/a": int64(len("/out/a")),
		"bbb/stdout":      int64(len("to stdout\n")),
		"bbb/stderr":      int64(len("to stderr\n")),
		"ccc/stdout":      -1, // more may come
	} {
		length, b, err := get(t, c, path)
		if err != nil || length != want || want >= 0 && int64(len(b)) != want {
			t.Errorf("%s: length %d announced, %d bytes, %v", path, length, len(b), err)
		}
	}
}

// get returns the length that is announced of something of a task, and what
// comes.
func get(t *testing.T, c *caller, path string) (int64, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://spare/api/v1/tasks/"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", path, res.StatusCode)
	}
	b, err := io.ReadAll(res.Body)
	return res.ContentLength, b, err
}

func TestBytesThatAreMissingAreNoticed(t *testing.T) {
	for name, rest := range map[string]io.Reader{
		"its disk fails":     iotest.ErrReader(errors.New("input/output error")),
		"it ends too early":  bytes.NewReader(nil),
		"it ends in garbage": strings.NewReader(strings.Repeat("x", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			n, home := &failingReads{apitest.New(t.TempDir()), rest}, apitest.Home(t)
			s, err := api.New(api.Config{
				Socket: filepath.Join(home, "api.sock"), Tasks: n, Blobs: n, Data: n, Node: n, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			c := newCaller(t, home)
			c.json("POST", "/api/v1/tasks", submission("leave /out/a"), new(api.Task))
			c.json("POST", "/api/v1/tasks", submission("exit 0"), new(api.Task))
			for _, path := range []string{"aaa/files/out/a", "bbb/stdout", "bbb/stderr"} {
				if _, b, err := get(t, c, path); err == nil {
					t.Errorf("%s: %d bytes came as if they were all: %q", path, len(b), b)
				}
			}
		})
	}
}
