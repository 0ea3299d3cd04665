package donor

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// touchedEvery is how often input is looked at.
const touchedEvery = 2 * time.Second

// lastInput is LASTINPUTINFO of winuser.h.
type lastInput struct{ size, at uint32 }

// readTouched asks for the last input of this process's session. A service is in
// a session without any.
func readTouched() touched {
	var session uint32
	if err := windows.ProcessIdToSessionId(uint32(os.Getpid()), &session); err != nil || session == 0 {
		return touched{}
	}
	input := windows.NewLazySystemDLL("user32.dll").NewProc("GetLastInputInfo")
	ticks := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetTickCount")
	if input.Find() != nil || ticks.Find() != nil {
		return touched{}
	}
	i := lastInput{size: uint32(unsafe.Sizeof(lastInput{}))}
	if ok, _, _ := input.Call(uintptr(unsafe.Pointer(&i))); ok == 0 {
		return touched{}
	}
	now, _, _ := ticks.Call()
	// Both are milliseconds since the start, and begin anew after 50 days.
	return touched{last: time.Now().Add(-time.Duration(uint32(now)-i.at) * time.Millisecond), known: true}
}
