package protocol

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// outputStep begins a file, or writes to it when it has no path.
type outputStep struct {
	path string
	size uint64
	data string
}

// take feeds steps to what takes the output of s.
func take(s *Spec, steps []outputStep) ([]*File, error) {
	o := s.NewOutputs()
	for _, step := range steps {
		var err error
		if step.path != "" {
			err = o.Begin(&FileHeader{Path: step.path, Size: step.size})
		} else {
			_, err = o.Write([]byte(step.data))
		}
		if err != nil {
			return nil, err
		}
	}
	return o.Finish()
}

func TestOutputFilesAreChecked(t *testing.T) {
	// Beside inputs of 3 files and directories and 5 + 1 MiB bytes.
	spec := sampleSpec()
	spec.Limits.Files, spec.Limits.FileBytes = 7, 1<<20+5+100
	for _, c := range []struct {
		name  string
		steps []outputStep
		want  string // in the error; empty: none
	}{
		{"none", nil, ""},
		{"some", []outputStep{{"/out/a", 3, ""}, {"", 0, "ab"}, {"", 0, "c"}, {"/out/b", 0, ""}, {"/out/b.c", 1, ""}, {"", 0, "d"}}, ""},
		{"as many files and directories as allowed", []outputStep{{"/out/a", 0, ""}, {"/out/d/e/f", 0, ""}}, ""},
		{"one file more", []outputStep{{"/out/a", 0, ""}, {"/out/d/e/f", 0, ""}, {"/out/g", 0, ""}}, "more output files"},
		{"one directory more", []outputStep{{"/out/a", 0, ""}, {"/out/b", 0, ""}, {"/out/d/e/f", 0, ""}}, "more output files"},
		{"directories without end", []outputStep{{"/out" + strings.Repeat("/d", 200), 0, ""}}, "more output files"},
		{"as many bytes as allowed", []outputStep{{"/out/a", 100, ""}, {"", 0, strings.Repeat("x", 100)}}, ""},
		{"one byte more", []outputStep{{"/out/a", 60, ""}, {"", 0, strings.Repeat("x", 60)}, {"/out/b", 41, ""}}, "41 bytes, 40 are left"},
		{"a size that no number holds", []outputStep{{"/out/a", 1<<64 - 1, ""}}, "are left"},
		{"above the directory", []outputStep{{"/out/../etc/passwd", 0, ""}}, "not one below /out"},
		{"another directory", []outputStep{{"/in/a", 0, ""}}, "not one below /out"},
		{"the directory itself", []outputStep{{"/out", 0, ""}}, "not one below /out"},
		{"escapes in a path", []outputStep{{"/out/\x1b[2J", 0, ""}}, "characters that no name should"},
		{"twice the same", []outputStep{{"/out/a", 0, ""}, {"/out/a", 0, ""}}, "not sorted"},
		{"not sorted", []outputStep{{"/out/b", 0, ""}, {"/out/a", 0, ""}}, "not sorted"},
		{"within a file", []outputStep{{"/out/a", 0, ""}, {"/out/a.b", 0, ""}, {"/out/a/b", 0, ""}}, "within another"},
		{"bytes without a file", []outputStep{{"", 0, "a"}}, "awaits 0"},
		{"more bytes than announced", []outputStep{{"/out/a", 1, ""}, {"", 0, "ab"}}, "awaits 1"},
		{"fewer bytes, then another", []outputStep{{"/out/a", 2, ""}, {"", 0, "a"}, {"/out/b", 0, ""}}, "1 bytes of the output file"},
		{"fewer bytes, then the end", []outputStep{{"/out/a", 2, ""}, {"", 0, "a"}}, "1 bytes of the output file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, err := take(spec, c.steps)
			if c.want != "" {
				if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, %v; want %q", files, err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []*File
			data := map[string]string{}
			for _, step := range c.steps {
				if step.path != "" {
					want = append(want, &File{Path: step.path})
				} else {
					data[want[len(want)-1].Path] += step.data
				}
			}
			for i, f := range files {
				want[i].Blob = &Blob{Digest: digestBytes(data[f.Path]), Size: uint64(len(data[f.Path]))}
				if !proto.Equal(f, want[i]) {
					t.Errorf("file %d is %v, want %v", i, f, want[i])
				}
			}
			if len(files) != len(want) {
				t.Errorf("%d files, want %d", len(files), len(want))
			}
		})
	}
}

// FuzzOutputs takes files whose paths and sizes a stranger chose. What is
// accepted keeps within every limit.
func FuzzOutputs(f *testing.F) {
	f.Add([]byte("/out/a\x00\x03abc\n/out/b/c\x00\x00\n"))
	f.Add([]byte("/out/a\x00\x01\n/out/a/b\x00\x00\n"))
	f.Add([]byte("abc\n/out/../a\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spec := &Spec{Stdin: NewBlob(nil), Limits: &Limits{Files: 5, FileBytes: 20}}
		o := spec.NewOutputs()
		for line := range bytes.SplitSeq(b, []byte("\n")) {
			if p, rest, header := bytes.Cut(line, []byte{0}); header && len(rest) > 0 {
				if o.Begin(&FileHeader{Path: string(p), Size: uint64(rest[0])}) != nil {
					return
				}
				line = rest[1:]
			}
			if _, err := o.Write(line); err != nil {
				return
			}
		}
		files, err := o.Finish()
		if err != nil {
			return
		}
		var total uint64
		for i, file := range files {
			total += file.Blob.Size
			if CheckPath(OutputDir, file.Path) != nil || i > 0 && file.Path <= files[i-1].Path || len(file.Blob.Digest) == 0 {
				t.Errorf("accepted %v", file)
			}
		}
		if len(files) > 5 || total > 20 {
			t.Errorf("accepted %d files of %d bytes", len(files), total)
		}
	})
}

func TestInlineKeepsToItsRoom(t *testing.T) {
	spec := sampleSpec()
	large := func(c string) []byte { return bytes.Repeat([]byte(c), 40<<10) }
	stored := NewBlob(large("b"))
	bytesOf := stored.Inline
	stored.Inline = nil
	small := NewBlob([]byte("small"))
	small.Inline = nil
	spec.Inputs = []*File{{Path: "/in/a", Blob: stored}, {Path: "/in/b", Blob: NewBlob(large("a"))}, {Path: "/in/c", Blob: small}}
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	err := spec.Inline(func(b *Blob) ([]byte, error) {
		if b == small {
			return []byte("small"), nil
		}
		return bytesOf, nil
	})
	if err == nil {
		err = spec.Validate()
	}
	if err != nil || stored.IsInline() || !small.IsInline() || len(spec.Transfers()) != 1 {
		t.Errorf("%v; %d transfers", err, len(spec.Transfers()))
	}
}
