package donor

import (
	"os"
	"testing"
	"testing/fstest"
)

func TestSpoken(t *testing.T) {
	const keyboard = "sys/bus/usb/devices/1-2"
	usb := []string{
		keyboard + "/urbnum=120", keyboard + ":1.0/bInterfaceClass=03", keyboard + ":1.0/bInterfaceProtocol=01",
		keyboard + ":1.1/bInterfaceClass=03", keyboard + ":1.1/bInterfaceProtocol=02",
	}
	const lines = "            CPU0       CPU1\n   1:         10          5   IO-APIC    1-edge      i8042\n" +
		"  12:          0        100   IO-APIC   12-edge      i8042\n  14:          7          7   IO-APIC   14-edge      ata_piix\n"
	for name, c := range map[string]struct {
		root  fstest.MapFS
		count uint64
		known bool
	}{
		"nothing":                  {tree(), 0, false},
		"a PS/2 keyboard, a mouse": {tree("proc/interrupts=" + lines), 115, true},
		"no such interrupts":       {tree("proc/interrupts=  8: 1 2 rtc0\n"), 0, false},
		"a USB keyboard":           {tree(usb...), 120, true},
		"a disk by USB":            {tree(keyboard+"/urbnum=9", keyboard+":1.0/bInterfaceClass=08", keyboard+":1.0/bInterfaceProtocol=50"), 0, false},
		"a knob":                   {tree(keyboard+"/urbnum=9", keyboard+":1.0/bInterfaceClass=03", keyboard+":1.0/bInterfaceProtocol=00"), 0, false},
		"all of it":                {tree(append(usb, "proc/interrupts="+lines)...), 235, true},
	} {
		if got := readSpoken(c.root); got.count != c.count || got.known != c.known {
			t.Errorf("%s: %+v, want %d, %v", name, got, c.count, c.known)
		}
	}
}

// A terminal that is read from is seen, where there are terminals.
func TestTerminalIsSeen(t *testing.T) {
	for name, want := range map[string]bool{"/dev/tty1": true, "/dev/ttyS0": false, "/dev/tty": false, "/dev/pts/3": true, "/dev/pts/ptmx": false, "/dev/3": false} {
		i := len(name) - 1
		for name[i] != '/' {
			i--
		}
		if got := isTerminal(name[:i], name[i+1:]); got != want {
			t.Errorf("%s is a terminal: %v", name, got)
		}
	}
	if _, err := os.Stat("/dev/tty1"); err != nil {
		t.Skip("there is no terminal here")
	}
	if got := readTouched(); !got.known || got.last.IsZero() {
		t.Errorf("%+v", got)
	}
}
