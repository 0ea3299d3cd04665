package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

func TestExpand(t *testing.T) {
	item := mapItem{"a/b.tar.gz", "x"}
	for text, want := range map[string]string{
		"":                              "",
		"plain":                         "plain",
		"{}":                            "a/b.tar.gz x",
		"<{1}|{2}>":                     "<a/b.tar.gz|x>",
		"{1.} {1/}":                     "a/b.tar b.tar.gz",
		"{1//} {1/.}":                   "a b.tar",
		"{2//} {2.}":                    ". x",
		"{#}":                           "12",
		"{3}{-3}{99999999999999999999}": "",
		"{0} {%} {= 1 =}":               "{0} {%} {= 1 =}",
		"{-1} {-2/.}":                   "x b.tar",
		"{/} {//} {.}":                  "b.tar.gz x a . a/b.tar x",
		"{x} {} {":                      "{x} a/b.tar.gz x {",
		"{1{}}":                         "{1a/b.tar.gz x}",
	} {
		if got := item.expand(text, 12); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestCut has what GNU parallel 20221122 makes of each.
func TestCut(t *testing.T) {
	for value, want := range map[string][4]string{ // of {.}, {/}, {//} and {/.}
		"":           {"", "", ".", ""},
		"/":          {"/", "", "/", ""},
		"//":         {"//", "", "/", ""},
		"/a":         {"/a", "a", "/", "a"},
		"//a":        {"//a", "a", "/", "a"},
		"a/":         {"a/", "", ".", ""},
		"a/b/":       {"a/b/", "", "a", ""},
		"./a/b":      {"./a/b", "b", "./a", "b"},
		"a//b/../c":  {"a//b/../c", "c", "a//b/..", "c"},
		"foo.":       {"foo", "foo.", ".", "foo"},
		".":          {"", ".", ".", ""},
		"..":         {".", "..", ".", "."},
		"a/..":       {"a/.", "..", "a", "."},
		"a/.b":       {"a/", ".b", "a", ""},
		"x.y/":       {"x.y/", "", ".", ""},
		"a.b/c":      {"a.b/c", "c", "a.b", "c"},
		"a.tar.gz":   {"a.tar", "a.tar.gz", ".", "a.tar"},
		"a/.b.c":     {"a/.b", ".b.c", "a", ".b"},
		"dir.d/x.y ": {"dir.d/x", "x.y ", "dir.d", "x"},
	} {
		if got := [4]string{cut(value, "."), cut(value, "/"), cut(value, "//"), cut(value, "/.")}; got != want {
			t.Errorf("%q becomes %q, want %q", value, got, want)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for args, want := range map[string]string{
		"p":                 "[p] []",
		"p a":               "[p a] []",
		"p ::: a b":         "[p] [[a b]]",
		"p x ::: a ::: b c": "[p x] [[a] [b c]]",
		"p :::":             "[p] [[]]",
		"p ::: a :::+ b":    "[p] [[a] +[b]]",
		"p :::: a b ::: c":  "[p] [<a <b [c]]",
		"p ::::+ a":         "[p] [+<a]",
		"p :::++ a":         "[p :::++ a] []",
	} {
		program, lists := splitArgs(strings.Fields(args))
		var said []string
		for _, list := range lists {
			text := fmt.Sprint(list.words)
			if list.file != "" {
				text = "<" + list.file
			}
			if list.linked {
				text = "+" + text
			}
			said = append(said, text)
		}
		if got := fmt.Sprint(program, said); got != want {
			t.Errorf("%s is %s, want %s", args, got, want)
		}
	}
}

func TestItemsOfFilesAreLines(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(name, []byte("a,1\r\nb,2\n\nc"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sources{files: []string{name}, colsep: ","}
	items, err := s.items(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%q", items), `[["a" "1"] ["b" "2"] [""] ["c"]]`; got != want {
		t.Errorf("they are %s, want %s", got, want)
	}
}

func TestBlocksHoldWholeLines(t *testing.T) {
	for text, want := range map[string]string{
		"":               "[]",
		"a\nb\nc\n":      `["a\n" "b\n" "c\n"]`,
		"a\nb":           `["a\nb"]`,
		"long line\nb":   `["long line\n" "b"]`,
		"\n\n\n\n\n":     `["\n\n\n" "\n\n"]`,
		"ab\nc\n":        `["ab\n" "c\n"]`,
		"a\nb\nlong one": `["a\n" "b\n" "long one"]`,
	} {
		var got []string
		err := blocks(strings.NewReader(text), 3, func(b []byte) error { got = append(got, string(b)); return nil })
		if err != nil || fmt.Sprintf("%q", got) != want {
			t.Errorf("%q is %q (%v), want %s", text, got, err, want)
		}
	}
}

// FuzzBlocks: blocks are the text, and each but the last ends a line.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte("a\nb\nccccccccc\n"), 3)
	f.Add(bytes.Repeat([]byte("x"), 100_000), 10)
	f.Fuzz(func(t *testing.T, text []byte, length int) {
		length = max(1, min(length, 1<<20))
		var all []byte
		last := []byte("\n")
		err := blocks(bytes.NewReader(text), length, func(b []byte) error {
			if len(b) == 0 || last[len(last)-1] != '\n' {
				t.Fatalf("a block of %d bytes after %q", len(b), last)
			}
			all, last = append(all, b...), bytes.Clone(b)
			return nil
		})
		if err != nil || !bytes.Equal(all, text) {
			t.Fatalf("%d bytes of %d (%v)", len(all), len(text), err)
		}
	})
}

// FuzzExpand: whatever a text has, expanding it ends, and leaves what is no
// placeholder.
func FuzzExpand(f *testing.F) {
	f.Add("{1.}{}{#}", "a/b", 3)
	f.Fuzz(func(t *testing.T, text, item string, index int) {
		got := (mapItem{item}).expand(text, index)
		if !placeholder.MatchString(text) && got != text {
			t.Fatalf("%q becomes %q", text, got)
		}
		if utf8.ValidString(text) && utf8.ValidString(item) && !utf8.ValidString(got) {
			t.Fatalf("%q of %q is no text: %q", text, item, got)
		}
	})
}

func TestTagBeginsEachLine(t *testing.T) {
	var out bytes.Buffer
	w := &tagger{w: &out, tag: []byte("a\t"), fresh: true}
	for _, piece := range []string{"one\ntw", "o\n", "\n", "end"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), "a\tone\na\ttwo\na\t\na\tend"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

// TestOutputThatWaitsForItsTurnIsBounded: a first task that does not end must not make
// all the others' output stay in memory.
func TestOutputThatWaitsForItsTurnIsBounded(t *testing.T) {
	r := &report{keep: true, next: 1, early: make(map[uint64]*api.JobResult)}
	const n = 3 * maxHeld / protocol.MaxInline
	for i := range uint64(n) {
		one := &api.JobResult{Number: i + 1, Index: i + 2, Stdout: make([]byte, protocol.MaxInline), StdoutBytes: protocol.MaxInline}
		if err := r.event(api.JobEvent{Result: one}); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for _, one := range r.early {
		held += len(one.Stdout)
	}
	if len(r.early) != n || held == 0 || held > maxHeld || held != r.held {
		t.Errorf("of %d results %d bytes are held, said to be %d", len(r.early), held, r.held)
	}
	for i := range uint64(n) {
		r.release(i + 2)
	}
	if r.held != 0 {
		t.Errorf("%d bytes are held of none", r.held)
	}
}
