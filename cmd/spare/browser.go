package main

import (
	"os"
	"os/exec"
	"runtime"
)

// opener returns the command that opens a link on this system, or nil where
// there is no display.
func opener(goos string, getenv func(string) string) []string {
	switch {
	case goos == "darwin":
		return []string{"open"}
	case goos == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	case getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "":
		return []string{"xdg-open"}
	default:
		return nil
	}
}

// browse opens a link in the user's browser when there is one. The link has
// been printed, so that a failure needs no word.
func browse(url string) {
	words := opener(runtime.GOOS, os.Getenv)
	if words == nil {
		return
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return
	}
	cmd := exec.Command(path, append(words[1:], url)...)
	if cmd.Start() == nil {
		_ = cmd.Process.Release() // the browser outlives us
	}
}
