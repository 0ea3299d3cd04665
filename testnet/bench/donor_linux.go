package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"
)

const (
	// burnerName is this program as an owner whose work wants all CPUs.
	burnerName = "bench-owner"
	// burnFactor is how much longer than another load each of the owner's lasts: a
	// tick of the kernel's accounts is 10 ms.
	burnFactor = 3
	userTick   = 10 * time.Millisecond
)

// owner is somebody at work beside guests, in the node's session or in another,
// which the kernel may weigh apart.
type owner struct {
	name    string
	session bool // of its own
	shares  []float64
	works   []round // figures.took is one for each piece of work
}

// benchDonor measures what guests take of the CPUs while their owner wants all of
// them, and what that costs the owner's work. The node donates always here, so that
// nothing but the guests' priority is looked at: one that donates when idle stops
// them soon.
func benchDonor(ctx context.Context, o options, p *fleet, out io.Writer) (err error) {
	slots := max(2, runtime.NumCPU())
	module := filepath.Join(p.dir, "spin.wasm")
	if err := os.WriteFile(module, spin(), 0o600); err != nil {
		return err
	}
	spare := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, p.program, append([]string{"--home", p.home}, args...)...)
		cmd.Stderr = os.Stderr
		said, err := cmd.Output()
		return strings.TrimSpace(string(said)), err
	}
	for range slots {
		id, err := spare("run", "-d", "--remote", "--gas", "1P", module)
		if err != nil {
			return err
		}
		defer func() {
			_, wrong := spare("cancel", id)
			err = errors.Join(err, wrong)
		}()
	}
	node := p.providers[0].cmd.Process.Pid
	var guests []int
	for len(guests) < slots {
		if guests, err = guestsOf(node); err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	owners := []*owner{{name: "in the node's session"}, {name: "in another session", session: true}}
	for n := range o.rounds + 1 {
		for _, w := range owners {
			r, share, err := w.turn(ctx, guests, o.lasts*burnFactor, n%2 == 0)
			if err != nil {
				return err
			}
			if n > 0 { // the first warms up
				w.works, w.shares = append(w.works, r), append(w.shares, share)
			}
		}
	}
	grouped := "no groups by session"
	if b, err := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled"); err == nil && bytes.HasPrefix(b, []byte("1")) {
		grouped = "groups by session"
	}
	fmt.Fprintf(out, "%d guests that spin beside an owner whose work wants all of %d CPUs: medians over %d pairs with and without guests, of %s each.\n", slots, runtime.NumCPU(), o.rounds, o.lasts*burnFactor)
	fmt.Fprintf(out, "The kernel knows %s. Load average %s.\n\n", grouped, loadAverage())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "owner\tguests take\ttarget\tits work, alone\tbeside guests\tratio\tleast\tmost")
	for _, x := range owners {
		s := summarise(x.works, figures.rate)
		little := target{"guests < 3 %", func(s summary) bool { return s.spare < 0.03 }}
		fmt.Fprintf(w, "%s\t%.2f %%\t%s\t%s\t%s\t%.3fx\t%.3fx\t%.3fx\n", x.name, 100*median(x.shares), little.judge(summary{spare: median(x.shares)}),
			perSecond(s.reference), perSecond(s.spare), s.ratio, s.least, s.most)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// spin is a module whose program is a loop without an end. It compiles at once,
// also where nobody lets it.
func spin() []byte {
	return []byte("\x00asm\x01\x00\x00\x00" + // the magic and the version
		"\x01\x04\x01\x60\x00\x00" + // one type: () -> ()
		"\x03\x02\x01\x00" + // one function of it
		"\x05\x03\x01\x00\x01" + // a page of memory
		"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" +
		"\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b") // loop br 0 end end
}

// turn has the owner work once beside the guests and once while they are stopped,
// and returns the share that guests have taken of what both used.
func (w *owner) turn(ctx context.Context, guests []int, lasts time.Duration, besideFirst bool) (r round, share float64, err error) {
	for i := range 2 {
		beside := besideFirst == (i == 0)
		if err := signalAll(guests, beside); err != nil {
			return r, 0, err
		}
		before, err := used(guests)
		if err != nil {
			return r, 0, err
		}
		f, took, err := w.work(ctx, lasts)
		if err != nil {
			return r, 0, err
		}
		after, err := used(guests)
		if err != nil {
			return r, 0, err
		}
		if beside {
			r.spare, share = f, float64(after-before)/float64(after-before+took)
		} else {
			r.reference = f
		}
	}
	return r, share, signalAll(guests, true)
}

func signalAll(guests []int, run bool) error {
	which := syscall.SIGSTOP
	if run {
		which = syscall.SIGCONT
	}
	for _, pid := range guests {
		if err := syscall.Kill(pid, which); err != nil {
			return fmt.Errorf("guest %d: %w", pid, err)
		}
	}
	return nil
}

// work runs the owner's process, and returns its pieces of work, of which no time
// is known, and the CPU time.
func (w *owner) work(ctx context.Context, lasts time.Duration) (f figures, took time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, 0, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = []string{burnerName, lasts.String()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: w.session}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return f, 0, err
	}
	var pieces int
	if _, err := fmt.Sscan(string(out), &pieces); err != nil {
		return f, 0, err
	}
	f.took, f.wall = make([]time.Duration, pieces), lasts
	return f, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// burn is the owner's work: it keeps all CPUs busy for a while, and prints how many
// pieces were done.
func burn(text string) error {
	lasts, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	var pieces, sum atomic.Uint64
	var all sync.WaitGroup
	start := time.Now()
	for range runtime.NumCPU() {
		all.Go(func() {
			x := uint64(88172645463325252)
			for time.Since(start) < lasts {
				for range 1 << 16 {
					x ^= x << 13
					x ^= x >> 7
					x ^= x << 17
				}
				pieces.Add(1)
			}
			sum.Add(x)
		})
	}
	all.Wait()
	_, err = fmt.Println(pieces.Load(), sum.Load())
	return err
}

// guestsOf returns the processes of a node's workers that run guests.
func guestsOf(node int) (list []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		words := strings.Split(string(line), "\x00")
		if err != nil || len(words) < 2 || words[0] != "spare-worker" || words[1] != "run" {
			continue
		}
		if _, parent, err := stat(pid); err == nil && parent == node {
			list = append(list, pid)
		}
	}
	return list, nil
}

// used is the CPU time of processes so far.
func used(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		took, _, err := stat(pid)
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum, nil
}

// stat reads /proc/PID/stat.
func stat(pid int) (took time.Duration, parent int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, tail, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(tail)
	if !ok || len(fields) < 13 {
		return 0, 0, errors.New("/proc/PID/stat is not as it should be")
	}
	parent, err = strconv.Atoi(fields[1])
	for _, f := range fields[11:13] {
		ticks, bad := strconv.Atoi(f)
		took, err = took+time.Duration(ticks)*userTick, errors.Join(err, bad)
	}
	return took, parent, err
}
