package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

func TestMain(m *testing.M) {
	// A Client holds idle connections for its next call; the server's end of
	// them ends with the server.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func serve(t *testing.T) (*apitest.Node, *client.Client, func()) {
	n, home := apitest.New(t.TempDir()), apitest.Home(t)
	_, stop := apitest.Serve(t, n, home)
	return n, client.New(filepath.Join(home, "api.sock")), stop
}

// collect gathers what a followed task tells.
type collect struct {
	ids            []string
	stdout, stderr bytes.Buffer
	states         []string
}

func (c *collect) event(e api.Event) error {
	if e.ID != "" {
		c.ids = append(c.ids, e.ID)
	}
	if e.Task != nil {
		c.states = append(c.states, e.Task.State)
	}
	c.stdout.Write(e.Stdout)
	c.stderr.Write(e.Stderr)
	return nil
}

func TestRunUploadsTheModuleOnce(t *testing.T) {
	n, c, _ := serve(t)
	for range 3 {
		var got collect
		task, err := c.Run(t.Context(), &api.Submission{Name: "p.wasm", Stdin: api.Bytes{Data: []byte("hello")}}, apitest.Module("cat"), got.event)
		if err != nil {
			t.Fatal(err)
		}
		if *task.ExitCode != 0 || got.stdout.String() != "hello" || len(got.ids) != 1 || got.ids[0] != task.ID {
			t.Errorf("task %+v, told %+v", task, got)
		}
	}
	if n.Puts() != 1 {
		t.Errorf("uploaded %d times, want once", n.Puts())
	}
}

func TestLargeInputAndOutput(t *testing.T) {
	_, c, _ := serve(t)
	in := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	ref, err := c.PutBlob(t.Context(), strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var got collect
	task, err := c.Run(t.Context(), &api.Submission{Stdin: api.Bytes{Digest: ref.Digest}}, apitest.Module("cat"), got.event)
	if err != nil {
		t.Fatal(err)
	}
	if got.stdout.String() != in || *task.StdoutDigest != protocol.DigestOf([]byte(in)).String() {
		t.Errorf("%d bytes came back of %d", got.stdout.Len(), len(in))
	}
	out, err := c.Output(t.Context(), task.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if b, err := io.ReadAll(out); err != nil || string(b) != in {
		t.Errorf("stdout later: %d bytes, %v", len(b), err)
	}
}

func TestTaskCalls(t *testing.T) {
	_, c, _ := serve(t)
	task, err := c.Submit(t.Context(), &api.Submission{Name: "p.wasm", Terms: api.Terms{Detached: true}}, apitest.Module("block"))
	if err != nil || task.State != "running" || !task.Terms.Detached {
		t.Fatalf("%+v %v", task, err)
	}
	waited := make(chan api.Task, 1)
	go func() {
		w, err := c.Wait(t.Context(), task.ID)
		if err != nil {
			t.Error(err)
		}
		waited <- w
	}()
	ctx, leave := context.WithCancel(t.Context())
	_, err = c.Follow(ctx, task.ID[:4], func(e api.Event) error {
		if len(e.Stdout) > 0 {
			leave()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("left with %v", err)
	}
	stopped := errors.New("stopped")
	if _, err := c.Follow(t.Context(), task.ID, func(api.Event) error { return stopped }); !errors.Is(err, stopped) {
		t.Errorf("stopped with %v", err)
	}
	if got, err := c.Cancel(t.Context(), task.ID[:3]); err != nil || got.State != "cancelled" {
		t.Errorf("cancel: %+v %v", got, err)
	}
	w := <-waited
	if w.State != "cancelled" || w.Error == nil || w.Error.Code != protocol.CodeCancelled {
		t.Errorf("waited for %+v", w)
	}
	if got, err := c.Task(t.Context(), task.ID); err != nil || got.ID != w.ID || got.Ended == nil {
		t.Errorf("task: %+v %v", got, err)
	}
	page, err := c.Tasks(t.Context(), 10, "")
	if err != nil || len(page.Tasks) != 1 || page.Next != "" {
		t.Errorf("tasks: %+v %v", page, err)
	}
	if page, err = c.Tasks(t.Context(), 10, task.ID); err != nil || len(page.Tasks) != 0 {
		t.Errorf("tasks before the first: %+v %v", page, err)
	}
}

func TestNodeCalls(t *testing.T) {
	_, c, _ := serve(t)
	if s, err := c.Status(t.Context()); err != nil || s.Peer != apitest.Self || s.Slots != 2 {
		t.Errorf("status %+v %v", s, err)
	}
	if p, err := c.Peers(t.Context()); err != nil || len(p) != 1 || *p[0].RTTMS != 1.5 {
		t.Errorf("peers %+v %v", p, err)
	}
	if o, err := c.Offers(t.Context()); err != nil || len(o) != 2 || !o[0].Self {
		t.Errorf("offers %+v %v", o, err)
	}
	if p, err := c.Ping(t.Context(), apitest.Other[:12]); err != nil || p.Peer != apitest.Other || p.RTTMS != 1.234 {
		t.Errorf("ping %+v %v", p, err)
	}
	if url, err := c.DashboardLink(t.Context()); err != nil || !strings.Contains(url, "/#code=") {
		t.Errorf("link %q %v", url, err)
	}
}

func TestProblemsComeBackAsErrors(t *testing.T) {
	_, c, _ := serve(t)
	_, err := c.Task(t.Context(), "zzz")
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != protocol.CodeNotFound || e.Hint != "see 'spare ps'" {
		t.Errorf("no such task: %v", err)
	}
	if _, err := c.Run(t.Context(), &api.Submission{}, []byte("#!/bin/sh"), nil); protocol.CodeOf(err) != protocol.CodeBadModule {
		t.Errorf("not a module: %v", err)
	}
	if _, err := c.Task(t.Context(), "../status"); protocol.CodeOf(err) == "" || err == nil {
		t.Errorf("an ID that is a path: %v", err)
	}
}

func TestNoNode(t *testing.T) {
	home := apitest.Home(t)
	socket := filepath.Join(home, "api.sock")
	_, err := client.New(socket).Status(t.Context())
	if protocol.CodeOf(err) != protocol.CodeNoNode {
		t.Errorf("no socket: %v", err)
	}
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	if _, err := client.New(socket).Status(t.Context()); protocol.CodeOf(err) != protocol.CodeNoNode {
		t.Errorf("the socket of a dead node: %v", err)
	}
}

func TestNodeStopsInTheMiddle(t *testing.T) {
	_, c, stop := serve(t)
	_, err := c.Run(t.Context(), &api.Submission{}, apitest.Module("block"), func(e api.Event) error {
		if len(e.Stdout) > 0 {
			go stop()
		}
		return nil
	})
	if protocol.CodeOf(err) != protocol.CodeShutdown {
		t.Errorf("ended with %v", err)
	}
}

func TestListenerThatSpeaksSomethingElse(t *testing.T) {
	socket := filepath.Join(apitest.Home(t), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answers := []string{"", "garbage\n", "HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\""}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, a := range answers {
			conn, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Read(make([]byte, 4096)) // whatever was asked
			_, _ = io.WriteString(conn, a)
			_ = conn.Close()
		}
	}()
	for _, a := range answers {
		if _, err := client.New(socket).Status(t.Context()); err == nil {
			t.Errorf("%q was taken for an answer", a)
		}
	}
	<-done
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestFileCalls(t *testing.T) {
	n, c, _ := serve(t)
	ref, err := c.PutBlob(t.Context(), strings.NewReader("known"))
	if err != nil {
		t.Fatal(err)
	}
	absent := protocol.DigestOf([]byte("absent")).String()
	if missing, err := c.Missing(t.Context(), []string{ref.Digest, absent}); err != nil || len(missing) != 1 || missing[0] != absent {
		t.Errorf("missing %v %v", missing, err)
	}
	odd := "/in/a b/ü?#%2e;=&+'\"\\:*"
	task, err := c.Run(t.Context(), &api.Submission{Inputs: []api.Input{{Path: odd, Bytes: api.Bytes{Digest: ref.Digest}}}}, apitest.Module("copy 0"), func(api.Event) error { return nil })
	if err != nil || len(task.Files) != 1 {
		t.Fatalf("%+v %v", task, err)
	}
	f, err := c.File(t.Context(), task.ID, task.Files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "known" {
		t.Errorf("%s: %q %v", task.Files[0].Path, b, err)
	}
	if _, err := c.File(t.Context(), task.ID, "/out/nothing"); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("no such file: %v", err)
	}
	n.Break()
	if d, err := c.Diagnose(t.Context()); err != nil || d.Sound() {
		t.Errorf("diagnosis %+v %v", d, err)
	}
}
