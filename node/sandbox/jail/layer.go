package jail

import (
	"fmt"
	"slices"
	"strings"
)

// The names of the layers. They are stable: configurations hold them.
const (
	Process        = "process"         // of its own, in its own session, which ends with its node
	UserNamespace  = "user-namespace"  // what rights it has, it has in there only
	PIDNamespace   = "pid-namespace"   // it sees and signals no other process
	NetNamespace   = "net-namespace"   // it has no network, not even the loopback
	IPCNamespace   = "ipc-namespace"   // it shares no System V or POSIX queues and memory
	MountNamespace = "mount-namespace" // its directory is all there is of a file system
	UTSNamespace   = "uts-namespace"   // it cannot rename the host
	NoNewPrivs     = "no-new-privs"    // it has no capabilities, and can get none
	RLimits        = "rlimits"         // memory, files and processor time are bounded
	Landlock       = "landlock"        // the kernel denies it files, signals and TCP, whatever its rights
	Seccomp        = "seccomp"         // the kernel denies it the system calls that it does not need
	IdlePriority   = "idle-priority"   // it runs when nobody else wants the processor
	IdleIO         = "idle-io"         // and uses a disk that nobody else wants
	Cgroup         = "cgroup"          // all workers together have bounded memory and processes
)

// planSeparator is between the names in a plan.
const planSeparator = ","

// Layer is one layer of the confinement of workers.
type Layer struct {
	Name    string `json:"name"`
	InForce bool   `json:"in_force"`
	Why     string `json:"why,omitempty"` // why it is not in force: one line for people
}

// Names returns the names of all layers that some system has, in the order in
// which they are shown.
func Names() []string {
	return []string{
		Process, UserNamespace, PIDNamespace, NetNamespace, IPCNamespace, MountNamespace, UTSNamespace,
		NoNewPrivs, RLimits, Landlock, Seccomp, IdlePriority, IdleIO, Cgroup,
	}
}

// Limits is how a process is to be confined.
type Limits struct {
	Plan         string // what [Box.Plan] says: the layers to put in force
	Dir          string // the one directory that it may use
	Writable     bool   // whether it may write there
	AddressSpace uint64 // bytes that it may take beyond what the Go runtime has at its start
	FileSize     uint64 // bytes of the largest file that it may write
	CPUSeconds   uint64 // of processor time, after which it is killed; 0: without end
}

// Cell is the inside of the jail: where [Enter] has brought this process.
type Cell struct {
	// Dir is where the directory is now.
	Dir      string
	writable bool
	layers   []Layer // those of the plan that a process puts in force itself
}

// Enter confines this process. It is called once, before anything hostile is
// read and before the process has opened a file to keep. It fails unless every
// layer of the plan is in force; the process must end then.
func Enter(l Limits) (*Cell, error) {
	c, err := enter(l)
	if err != nil {
		return nil, err
	}
	for _, x := range c.layers {
		if !x.InForce {
			return nil, fmt.Errorf("enter jail: %s: %s", x.Name, x.Why)
		}
	}
	return c, nil
}

// put notes how the attempt to put a layer in force has ended.
func (c *Cell) put(name string, err error) { c.layers = append(c.layers, layerOf(name, err)) }

// layerOf is the layer that is in force unless there is an err.
func layerOf(name string, err error) Layer {
	if err != nil {
		return Layer{Name: name, Why: err.Error()}
	}
	return Layer{Name: name, InForce: true}
}

// holds reports whether the named layer is in force.
func (c *Cell) holds(name string) bool {
	return slices.ContainsFunc(c.layers, func(l Layer) bool { return l.Name == name && l.InForce })
}

// planned returns the names in a plan.
func planned(plan string) (map[string]bool, error) {
	all, set := Names(), make(map[string]bool)
	for name := range strings.SplitSeq(plan, planSeparator) {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("enter jail: there is no layer %q", name)
		}
		set[name] = true
	}
	return set, nil
}

// Attempt is one thing that a confined process tried and must not manage.
type Attempt struct {
	What      string `json:"what"` // "open /etc/passwd"
	Succeeded bool   `json:"succeeded"`
	How       string `json:"how,omitempty"` // it failed: the system's words
}
