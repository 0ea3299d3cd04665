package donor

import (
	"context"
	"os/exec"
	"time"
)

// touchedEvery is how often input is looked at, which takes a process.
const touchedEvery = 5 * time.Second

// readTouched asks the registry of devices by its program: its library is C.
func readTouched() touched {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-r", "-d", "1", "-c", "IOHIDSystem").Output()
	if err != nil {
		return touched{}
	}
	ago, ok := idleTime(string(out))
	return touched{last: time.Now().Add(-ago), known: ok}
}
