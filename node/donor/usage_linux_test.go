package donor

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// burnTime is the CPU time that a burner uses, and burnTicks the same in the
// ticks of /proc, which are 100 a second on every Linux that Go runs on.
const (
	burnTime  = 500 * time.Millisecond
	burnTicks = 50
)

func TestMain(m *testing.M) {
	if os.Getenv("SPARE_TEST_BURN") != "" {
		burn()
		return
	}
	os.Exit(m.Run())
}

// burn uses CPU time until it has used burnTime, says so, and stays until its
// standard input ends.
func burn() {
	c := &calibration{x: 1}
	for {
		c.round()
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil || time.Duration(u.Utime.Nano()+u.Stime.Nano()) >= burnTime {
			break
		}
	}
	_, _ = os.Stdout.WriteString("burnt\n")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // whatever it brings, this is the end
}

// burner starts a command that ends up in burn and waits until it has burnt.
// The returned function ends it.
func burner(t *testing.T, cmd *exec.Cmd) (end func()) {
	t.Helper()
	cmd.Env = append(os.Environ(), "SPARE_TEST_BURN=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = in.Close()
		_ = cmd.Wait() // the second time it has been waited for
	}
	t.Cleanup(end)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "burnt" {
		t.Fatalf("burner said %q, %v", line, err)
	}
	return end
}

func whole(t *testing.T) cpuTimes {
	t.Helper()
	c, err := readCPUTimes(true)
	if err != nil || !c.ownKnown {
		t.Fatalf("read %+v, %v", c, err)
	}
	return c
}

// The bounds below are one-sided, since other programs run beside the tests.

func TestReadCountsOurChildrenAsOurs(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := whole(t)
	end := burner(t, exec.Command("sh", "-c", `"$0" & wait`, exe)) // a grandchild
	alive := whole(t)
	if got := int(alive.own - before.own); got < burnTicks*8/10 {
		t.Errorf("a grandchild used %d ticks and we see %d", burnTicks, got)
	}
	end()
	ended := whole(t)
	if got := int(ended.own) - int(before.own); got < burnTicks*8/10 {
		t.Errorf("the same after it has ended: %d", got)
	}
	if used := int(alive.used - before.used); used < burnTicks/2 {
		t.Errorf("the machine is said to have used %d ticks meanwhile", used)
	}
}

func TestReadCountsStrangersAsOthers(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := whole(t)
	// The shell ends at once, which gives its child to another parent. Its
	// input is duplicated, or the shell would give it /dev/null.
	burner(t, exec.Command("sh", "-c", `exec 3<&0; "$0" <&3 &`, exe))
	after := whole(t)
	foreign := int(after.used-before.used) - int(after.own-before.own)
	if foreign < burnTicks/2 {
		t.Errorf("a stranger used %d ticks and we see %d", burnTicks, foreign)
	}
	if own := int(after.own - before.own); own >= burnTicks*8/10 {
		t.Errorf("%d ticks of a stranger are said to be our own", own)
	}
}

func TestParseCPU(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       cpuTimes
		ok         bool
	}{
		{"a present kernel", "cpu  100 20 30 1000 50 6 7 80 90 10\ncpu0 1 1 1 1\n", cpuTimes{passed: 1293, used: 163}, true},
		{"an old kernel", "cpu 1 2 3 4\n", cpuTimes{passed: 10, used: 6}, true},
		{"another file", "intr 1 2 3 4 5\n", cpuTimes{}, false},
		{"no numbers", "cpu a b c d e\n", cpuTimes{}, false},
		{"nothing", "", cpuTimes{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := parseCPU(c.text); got != c.want || (err == nil) != c.ok {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

const statTail = " S 42 1 1 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7 8\n"

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       process
		ok         bool
	}{
		{"a process", "7 (cat)" + statTail, process{parent: 42, ticks: 127}, true},
		{"a name that looks like fields", "7 (a) R 1 2 3 (b)" + statTail, process{parent: 42, ticks: 127}, true},
		{"cut off", "7 (cat) S 42 1 1 0 -1", process{}, false},
		{"no name", "7 cat S 42", process{}, false},
		{"no numbers", "7 (cat)" + strings.ReplaceAll(statTail, "100", "many"), process{}, false},
		{"nothing", "", process{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := parseStat([]byte(c.text)); got != c.want || (err == nil) != c.ok {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (cat)" + statTail))
	f.Add([]byte("7 (a) R 1 (b)"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseStat(b); err != nil && p != (process{}) {
			t.Errorf("an error and %+v", p)
		}
	})
}

func TestTreeTicks(t *testing.T) {
	all := map[int]process{
		1: {parent: 0, ticks: 1}, 10: {parent: 1, ticks: 10}, 11: {parent: 10, ticks: 100}, 12: {parent: 11, ticks: 1000},
		20: {parent: 1, ticks: 1 << 20},                                    // not ours
		30: {parent: 31, ticks: 1 << 21}, 31: {parent: 30, ticks: 1 << 22}, // a circle elsewhere
		13: {parent: 10, ticks: 10000},
	}
	if got := treeTicks(all, 10); got != 11110 {
		t.Errorf("got %d, want 11110", got)
	}
	all[10] = process{parent: 12, ticks: 10} // a circle
	if got := treeTicks(all, 10); got != 11110 {
		t.Errorf("with a circle: %d, want 11110", got)
	}
}
