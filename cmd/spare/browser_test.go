package main

import (
	"slices"
	"testing"
)

func TestOpener(t *testing.T) {
	for name, c := range map[string]struct {
		goos, variable string // variable is the one that is set
		want           []string
	}{
		"a Mac":              {goos: "darwin", want: []string{"open"}},
		"Windows":            {goos: "windows", want: []string{"rundll32", "url.dll,FileProtocolHandler"}},
		"X11":                {goos: "linux", variable: "DISPLAY", want: []string{"xdg-open"}},
		"Wayland":            {goos: "freebsd", variable: "WAYLAND_DISPLAY", want: []string{"xdg-open"}},
		"a text console":     {goos: "linux"},
		"an unrelated thing": {goos: "linux", variable: "EDITOR"},
	} {
		t.Run(name, func(t *testing.T) {
			getenv := func(name string) string {
				if name == c.variable {
					return ":0"
				}
				return ""
			}
			if got := opener(c.goos, getenv); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
