package main

import (
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

func TestNamesThatASystemCannotHold(t *testing.T) {
	for name, c := range map[string]struct {
		paths         []string
		linux, mac, w bool // whether they can be written there
	}{
		"plain names":           {[]string{"/out/a.txt", "/out/b/c d"}, true, true, true},
		"hidden names":          {[]string{"/out/.a", "/out/..b"}, true, true, true},
		"a climb":               {[]string{"/out/../a"}, false, false, false},
		"an absolute path":      {[]string{"/etc/passwd"}, false, false, false},
		"a path that is longer": {[]string{"/out"}, false, false, false},
		"a double slash":        {[]string{"/out//a"}, false, false, false},
		"a relative path":       {[]string{"out/a"}, false, false, false},
		"nothing":               {[]string{""}, false, false, false},
		"a control character":   {[]string{"/out/a\nb"}, false, false, false},
		"no UTF-8":              {[]string{"/out/\xff"}, false, false, false},
		"a long name":           {[]string{"/out/" + strings.Repeat("x", 256)}, false, false, false},
		"the longest name":      {[]string{"/out/" + strings.Repeat("x", 255)}, true, true, true},
		"a drive":               {[]string{"/out/C:/a"}, true, true, false},
		"a backslash":           {[]string{`/out/..\..\a`}, true, true, false},
		"a stream":              {[]string{"/out/a:b"}, true, true, false},
		"a question mark":       {[]string{"/out/what?"}, true, true, false},
		"a dot at its end":      {[]string{"/out/a."}, true, true, false},
		"a space at its end":    {[]string{"/out/a "}, true, true, false},
		"a device":              {[]string{"/out/NUL"}, true, true, false},
		"a device in disguise":  {[]string{"/out/con.txt"}, true, true, false},
		"a device before dots":  {[]string{"/out/aux .tar.gz"}, true, true, false},
		"a port":                {[]string{"/out/lpt1"}, true, true, false},
		"a port of a high one":  {[]string{"/out/com²"}, true, true, false},
		"a device as a folder":  {[]string{"/out/prn/a"}, true, true, false},
		"almost a device":       {[]string{"/out/console", "/out/com", "/out/com10", "/out/nul1"}, true, true, true},
		"names that fold":       {[]string{"/out/A", "/out/a"}, true, false, false},
		"folders that fold":     {[]string{"/out/A/x", "/out/a/y"}, true, false, false},
		"one folder twice":      {[]string{"/out/a/x", "/out/a/y"}, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var files []api.File
			for _, p := range c.paths {
				files = append(files, api.File{Path: p})
			}
			for goos, want := range map[string]bool{"linux": c.linux, "darwin": c.mac, "windows": c.w} {
				err := checkOutputs(goos, files)
				if (err == nil) != want {
					t.Errorf("%s: %v", goos, err)
				}
				if err != nil && protocol.CodeOf(err) != protocol.CodeFile {
					t.Errorf("%s: the code is %s", goos, protocol.CodeOf(err))
				}
			}
		})
	}
}

func TestChosenFiles(t *testing.T) {
	task := api.Task{ID: "t", Files: []api.File{{Path: "/out/a"}, {Path: "/out/ab"}, {Path: "/out/d/x"}, {Path: "/out/out/z"}}}
	for name, c := range map[string]struct {
		paths []string
		want  string // empty: an error
	}{
		"all":                        {nil, "/out/a /out/ab /out/d/x /out/out/z"},
		"one":                        {[]string{"/out/a"}, "/out/a"},
		"one by its end":             {[]string{"a"}, "/out/a"},
		"a directory":                {[]string{"d"}, "/out/d/x"},
		"a directory with a slash":   {[]string{"/out/d/"}, "/out/d/x"},
		"everything below /out":      {[]string{"/out"}, "/out/a /out/ab /out/d/x /out/out/z"},
		"several, in the task's own": {[]string{"d/x", "/out/a"}, "/out/a /out/d/x"},
		"one twice":                  {[]string{"a", "/out/a"}, "/out/a"},
		"one that is not there":      {[]string{"a", "b"}, ""},
		"a climb":                    {[]string{"../a/../../b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := chosen(&task, c.paths)
			var got []string
			for _, f := range files {
				got = append(got, f.Path)
			}
			if strings.Join(got, " ") != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q (%v), want %q", got, err, c.want)
			}
		})
	}
}
