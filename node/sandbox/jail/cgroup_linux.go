package jail

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup is a control group (version 2) that all workers are started in. See
// Documentation/admin-guide/cgroup-v2.rst of Linux.
//
//	PARENT               where this process was
//	PARENT/spare-PID         where it is meanwhile, if it had to make room
//	PARENT/spare-workers-PID the workers'
//
// A group whose members' resources are bounded apart can have no members of its
// own, so this process moves aside where it is the only one.
type cgroup struct {
	parent  string
	aside   string // empty: this process stayed
	workers string
	file    *os.File // of workers
}

const maxWorkerTasks = 16384 // threads of all workers together

// controllers must be there for the layer to be in force; cpu is welcome.
var controllers = []string{"memory", "pids"}

// newCgroup makes the workers' group below this process's own. Memory is what
// all of them may take, in bytes. It touches no other process.
func newCgroup(memory uint64) (*cgroup, error) {
	if memory == 0 {
		return nil, errors.New("nobody has said how much memory all workers may take")
	}
	parent, err := ownCgroup("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return newCgroupBelow(parent, controllers, memory)
}

func newCgroupBelow(parent string, need []string, memory uint64) (*cgroup, error) {
	there, err := words(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return nil, plainly(err)
	}
	for _, name := range need {
		if !slices.Contains(there, name) {
			return nil, fmt.Errorf("its %s controller is not there; version 1 of control groups may have it, or nobody has passed it on", name)
		}
	}
	c := &cgroup{parent: parent}
	if err := c.make(need, there, memory); err != nil {
		return nil, errors.Join(plainly(err), c.close())
	}
	return c, nil
}

func (c *cgroup) make(need, there []string, memory uint64) error {
	passed, err := words(filepath.Join(c.parent, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if missing := slices.DeleteFunc(slices.Clone(need), func(name string) bool { return slices.Contains(passed, name) }); len(missing) > 0 {
		if err := c.passOn(missing, there); err != nil {
			return err
		}
	}
	workers := filepath.Join(c.parent, "spare-workers-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(workers, 0o755); err != nil {
		return err
	}
	c.workers = workers
	if err := setBounds(workers, need, memory); err != nil {
		return err
	}
	c.file, err = os.Open(workers)
	return err
}

// setBounds bounds a group by the controllers that it needs, without which the
// layer would be in name only, and by what else the kernel offers.
func setBounds(group string, need []string, memory uint64) error {
	for _, s := range []struct{ controller, file, value string }{
		{"pids", "pids.max", strconv.Itoa(maxWorkerTasks)},
		{"memory", "memory.max", strconv.FormatUint(memory, 10)},
		{"", "memory.swap.max", "0"},
		{"", "cpu.idle", "1"},
	} {
		err := write(filepath.Join(group, s.file), s.value)
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(need, s.controller) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passOn has the parent bound the resources of its children apart, and moves
// this process into one.
func (c *cgroup) passOn(missing, there []string) error {
	members, err := words(filepath.Join(c.parent, "cgroup.procs"))
	if err != nil {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	if !slices.Equal(members, []string{self}) {
		return errors.New("its control group has other processes too; start the node as a service with Delegate=yes, or in a scope of its own")
	}
	aside := filepath.Join(c.parent, "spare-"+self)
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	c.aside = aside
	if err := write(filepath.Join(aside, "cgroup.procs"), self); err != nil {
		return err
	}
	if slices.Contains(there, "cpu") {
		missing = append(missing, "cpu")
	}
	return write(filepath.Join(c.parent, "cgroup.subtree_control"), "+"+strings.Join(missing, " +"))
}

// cpuPeriod is the microseconds in which a group may use its share: the kernel's
// own choice.
const cpuPeriod = 100_000

// boundCPU writes cpu.max of the workers' group, where there is one.
func (g *ground) boundCPU(processors float64) bool {
	if g.cgroup == nil {
		return false
	}
	quota := "max"
	if processors > 0 {
		quota = strconv.Itoa(max(1000, int(processors*cpuPeriod))) // the least that the kernel takes
	}
	return write(filepath.Join(g.cgroup.workers, "cpu.max"), quota+" "+strconv.Itoa(cpuPeriod)) == nil
}

// close removes the groups. The workers must be gone.
func (c *cgroup) close() error {
	var all []error
	if c.file != nil {
		all = append(all, c.file.Close())
	}
	if c.workers != "" {
		all = append(all, os.Remove(c.workers))
	}
	if c.aside != "" {
		// With no group to bound, this process may go back to its parent.
		passed, err := words(filepath.Join(c.parent, "cgroup.subtree_control"))
		if err == nil && len(passed) > 0 {
			err = write(filepath.Join(c.parent, "cgroup.subtree_control"), "-"+strings.Join(passed, " -"))
		}
		all = append(all, err,
			write(filepath.Join(c.parent, "cgroup.procs"), strconv.Itoa(os.Getpid())), os.Remove(c.aside))
	}
	return errors.Join(all...)
}

// ownCgroup returns the directory of this process's control group.
func ownCgroup(groups, mounts string) (string, error) {
	list, err := os.ReadFile(groups)
	if err != nil {
		return "", plainly(err)
	}
	var path string
	for line := range strings.Lines(string(list)) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(rest, "\n")
		}
	}
	if path == "" {
		return "", errors.New("this system has no version 2 of control groups")
	}
	f, err := os.Open(mounts)
	if err != nil {
		return "", plainly(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	for s := bufio.NewScanner(f); s.Scan(); {
		// ID parent major:minor root mountpoint options... - type source options
		left, right, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(left)
		if len(fields) < 5 || !strings.HasPrefix(right, "cgroup2 ") {
			continue
		}
		if below, err := filepath.Rel(fields[3], path); err == nil && filepath.IsLocal(below) {
			return filepath.Join(fields[4], below), nil
		}
	}
	return "", errors.New("version 2 of control groups is not mounted")
}

func words(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	return strings.Fields(string(b)), err
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// plainly words for people why control groups cannot be used.
func plainly(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return errors.New("this user may not make control groups here; start the node as a service with Delegate=yes")
	case errors.Is(err, unix.EROFS):
		return errors.New("control groups are read-only here, as is usual in containers")
	}
	return err
}
