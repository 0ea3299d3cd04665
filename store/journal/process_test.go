package journal

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// childVar makes this test binary a child process that does what it says, in
// the directory given as its argument.
const childVar = "SPARE_JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	role := os.Getenv(childVar)
	if role == "" {
		os.Exit(m.Run())
	}
	roles := map[string]func(dir string) error{"append": appendForever, "full": fillDisk}
	if err := roles[role](os.Args[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func command(role, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childVar+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// content is a record that tells itself from others.
func content(key uint64) string {
	return strings.Repeat(strconv.FormatUint(key, 36)+" ", 1+int(key%40))
}

// appendForever has four writers, and says which records are committed.
func appendForever(dir string) error {
	j, _, err := tryOpen(dir, testID, 0)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				key := rand.Uint64()
				n, err := j.Append([]byte(content(key)))
				if err == nil {
					err = j.Commit(context.Background(), n)
				}
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Println(n, key)
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

// TestNothingCommittedIsLostByKill kills a process that appends, again and
// again, and looks at the journal each time.
func TestNothingCommittedIsLostByKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	committed := make(map[uint64]uint64) // number -> key
	var before []string
	for range 10 {
		cmd := command("append", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		kill := rand.IntN(300)
		for i := 0; lines.Scan(); i++ {
			var n, key uint64
			if _, err := fmt.Sscan(lines.Text(), &n, &key); err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			committed[n] = key
			if i == kill {
				_ = cmd.Process.Kill() // its last lines are still read
			}
		}
		_ = cmd.Wait() // killed is what it was
		j, records := open(t, dir, 0)
		for n, key := range committed {
			if n > uint64(len(records)) || records[n-1] != content(key) {
				t.Fatalf("record %d of %d was committed and is not there", n, len(records))
			}
		}
		if len(before) > len(records) || !slices.Equal(before, records[:len(before)]) {
			t.Fatal("what was replayed before is another")
		}
		before = records
		closeJournal(t, j)
	}
	t.Logf("%d records committed", len(committed))
	if len(committed) == 0 {
		t.Error("nothing was ever committed")
	}
}
