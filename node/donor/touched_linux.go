package donor

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// touchedEvery is how often input is looked at, which takes a look at every
// terminal there could be: what a person's programs do is seen sooner.
const touchedEvery = 5 * time.Second

// readTouched looks at what everybody may read of input: when terminals were
// read from last, as w(1) does, and how often the keyboards and mice have spoken.
// Those that come by Bluetooth, or by a bus of their own, are not seen.
func readTouched() touched {
	t := readSpoken(os.DirFS("/"))
	t.terminals = !t.known
	for _, dir := range []string{"/dev", "/dev/pts"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !isTerminal(dir, e.Name()) {
				continue
			}
			info, err := e.Info()
			if err != nil {
				continue
			}
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				t.known = true
				if last := time.Unix(s.Atim.Unix()); last.After(t.last) {
					t.last = last
				}
			}
		}
	}
	return t
}

// isTerminal reports whether a device is one that somebody may sit at.
func isTerminal(dir, name string) bool {
	number, console := strings.CutPrefix(name, "tty")
	_, err := strconv.Atoi(number)
	return err == nil && (console || dir == "/dev/pts")
}

// readSpoken counts what keyboards and mice have sent: the interrupts of the PS/2
// controller, which most laptops have, and the requests that ended of USB devices
// for people's input, of which one ends when there is some.
func readSpoken(root fs.FS) (t touched) {
	if b, err := fs.ReadFile(root, "proc/interrupts"); err == nil {
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[len(fields)-1] != "i8042" {
				continue
			}
			for _, f := range fields[1:] {
				n, err := strconv.ParseUint(f, 10, 64)
				if err != nil {
					break
				}
				t.count, t.known = t.count+n, true
			}
		}
	}
	const devices, human, keyboard, mouse = "sys/bus/usb/devices", "03", "01", "02"
	counted := make(map[string]bool)
	for _, name := range names(root, devices, "") {
		device, _, isInterface := strings.Cut(name, ":")
		at := path.Join(devices, name)
		kind := fact(root, at, "bInterfaceProtocol")
		if !isInterface || counted[device] || fact(root, at, "bInterfaceClass") != human || kind != keyboard && kind != mouse {
			continue
		}
		if n, err := strconv.ParseUint(fact(root, devices, device, "urbnum"), 10, 64); err == nil {
			counted[device] = true
			t.count, t.known = t.count+n, true
		}
	}
	return t
}
