package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestARuntimeIsFetchedOnceByItsDigest(t *testing.T) {
	module := []byte(magic + "\x01\x00\x00\x00")
	asked := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/module", func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write(module)
	})
	mux.Handle("/moved", http.RedirectHandler("/module", http.StatusFound))
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(module)
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return // nobody reads on, which is all that ends it
			}
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write(module)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	for path, says := range map[string]string{
		"/module": "", "/moved": "",
		"/page":  "it is no WebAssembly module",
		"/large": "it has more than 128 MiB",
		"/cut":   "unexpected EOF",
		"/none":  "the server says 404 Not Found",
	} {
		t.Run(path, func(t *testing.T) {
			dir := t.TempDir()
			i := &interpreter{Name: "x", Ext: []string{".x"}, Source: server.URL + path, Digest: digestText(module), Config: true}
			for range 2 {
				asked = 0
				b, err := i.module(t.Context(), dir)
				switch {
				case says == "" && (err != nil || !bytes.Equal(b, module)):
					t.Fatalf("%q, %v", b, err)
				case says != "" && (protocol.CodeOf(err) != protocol.CodeRuntime || !strings.Contains(err.Error(), says)):
					t.Fatalf("%v, want %s", err, says)
				}
			}
			if asked > 0 {
				t.Errorf("it was fetched again")
			}
			if says != "" {
				if left, err := os.ReadDir(filepath.Join(dir, runtimeDir)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it left %v, %v", left, err)
				}
				return
			}
			// What has changed there is not run: it is fetched anew.
			if err := os.WriteFile(i.file(dir), []byte(magic+"another"), 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err := i.module(t.Context(), dir); err != nil || !bytes.Equal(b, module) || asked != 1 {
				t.Errorf("%q, %v, asked %d times", b, err, asked)
			}
		})
	}

	t.Run("another than wanted", func(t *testing.T) {
		dir := t.TempDir()
		wanted := digestText([]byte("another"))
		i := &interpreter{Name: "x", Ext: []string{".x"}, Source: server.URL + "/module", Digest: wanted, Config: true}
		_, err := i.module(t.Context(), dir)
		if protocol.CodeOf(err) != protocol.CodeRuntime || !strings.Contains(err.Error(), wanted) || !strings.Contains(err.Error(), digestText(module)) {
			t.Errorf("%v, want both digests", err)
		}
		if _, err := os.Stat(i.file(dir)); err == nil {
			t.Error("it was kept")
		}
	})

	t.Run("a server that says nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel() // as Ctrl-C does
			<-r.Context().Done()
		}))
		defer silent.Close()
		i := &interpreter{Name: "x", Source: silent.URL, Digest: digestText(module), Config: true}
		if _, err := i.module(ctx, t.TempDir()); protocol.CodeOf(err) != protocol.CodeRuntime {
			t.Error(err)
		}
	})
}

func TestAnAddedRuntimeThatHasChangedIsNotRun(t *testing.T) {
	dir := t.TempDir()
	i := &interpreter{Name: "x", Ext: []string{".x"}, Source: filepath.Join(dir, "x.wasm"), Digest: digestText([]byte(magic))}
	if _, err := i.module(t.Context(), dir); protocol.CodeOf(err) != protocol.CodeRuntime {
		t.Errorf("without its module: %v", err)
	}
	if err := writeWhole(i.file(dir), []byte(magic+"another")); err != nil {
		t.Fatal(err)
	}
	if _, err := i.module(t.Context(), dir); protocol.CodeOf(err) != protocol.CodeRuntime || !strings.Contains(err.Error(), "no longer what was added") {
		t.Errorf("with another: %v", err)
	}
}

func TestRuntimesThatCannotBe(t *testing.T) {
	digest := "'" + digestText(nil) + "'"
	for name, c := range map[string]struct{ text, want string }{
		"a text":                {"runtimes = 'python'", "runtimes: wants sections such as [runtimes.python], got \"python\""},
		"no sections":           {"[runtimes]\npython = 1", "runtimes.python: wants a section, got the number 1"},
		"no source":             {"[runtimes.python]\ndigest = " + digest, "runtimes.python: wants a source and a digest"},
		"no digest":             {"[runtimes.python]\nsource = 'x'", "runtimes.python: wants a source and a digest"},
		"an unknown key":        {"[runtimes.python]\nurl = 'x'", "there is no key runtimes.python.url"},
		"a number for a text":   {"[runtimes.python]\nsource = 1", "runtimes.python.source: wants a text, got the number 1"},
		"a text for a list":     {"[runtimes.python]\next = '.py'", "runtimes.python.ext: wants a list such as [\".js\"], got \".py\""},
		"a digest that is none": {"[runtimes.python]\nsource = 'x'\ndigest = 'sha256:12'", "runtimes.python: \"sha256:12\" is no digest"},
		"no endings":            {"[runtimes.lua]\nsource = 'x'\ndigest = " + digest, "runtimes.lua: nothing says which scripts lua runs"},
		"a name of a path":      {"[runtimes.'../x']\nsource = 'x'\ndigest = " + digest + "\next = ['.x']", `a runtime cannot be called "../x"`},
		"an ending twice": {
			"[runtimes.lua]\nsource = 'x'\next = ['.py']\ndigest = " + digest + "\n[runtimes.python]\nsource = 'x'\ndigest = " + digest,
			"runtimes.python: runtimes.lua serves .py as well",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, configName), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, whole := readConfig(home(dir))
			_, own := interpreters(dir)
			for _, err := range []error{whole, own} {
				var e *protocol.Error
				if !errors.As(err, &e) || e.Code != protocol.CodeConfig || !strings.Contains(e.Message, c.want) || e.Hint == "" {
					t.Errorf("the error is %v, want %q and a hint", err, c.want)
				}
			}
		})
	}
}

func TestConfiguredRuntimesGoFirst(t *testing.T) {
	dir := t.TempDir()
	text := "[limits]\nfiles = 3\n[runtimes.python]\nsource = 'https://example.org/python.wasm'\ndigest = '" + digestText(nil) + "'\n"
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	added := "ext = ['.py', '.pyw']\nsource = '/x'\ndigest = '" + digestText([]byte("x")) + "'\n"
	for _, name := range []string{"python", "pypy"} {
		if err := writeWhole(filepath.Join(dir, runtimeDir, name+".toml"), []byte(added)); err != nil {
			t.Fatal(err)
		}
	}
	for ending, want := range map[string]string{".py": "python", ".pyw": "pypy"} {
		i, err := interpreterFor(home(dir), ending)
		if err != nil || i == nil || i.Name != want || i.Config != (want == "python") {
			t.Errorf("%s is run by %+v, %v", ending, i, err)
		}
	}
	if i, err := interpreterFor(home(dir), ".js"); i != nil || err != nil {
		t.Errorf(".js is run by %+v, %v", i, err)
	}
	if cfg, err := readConfig(home(dir)); err != nil || cfg.Ceilings.Files != 3 {
		t.Errorf("the node reads %+v, %v", cfg, err)
	}
}
