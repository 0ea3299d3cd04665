package node

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// MaxSlots is the largest number of slots that a node can have.
const MaxSlots = donor.MaxSlots

// Config is what a user may decide about a node.
type Config struct {
	Home      string   // directory of everything that the node keeps
	Network   string   // name of the network, which names its secret in the home
	Listen    []string // multiaddrs; none: loopback, on a port the kernel chooses
	Announce  []string // multiaddrs told to others instead of those listened on
	Bootstrap []string // multiaddrs ending in /p2p/PEER
	// Flags and File are what the user says of donating on the command line and
	// in config.toml, besides MemoryBytes. The first wins over what is set while
	// the node runs, and that over the second.
	Flags, File donor.Rules
	MemoryBytes uint64            // ceiling for one task; 0: as donor measures
	Settings    []api.Setting     // of the other values, for who asks; may be nil
	Ceilings    Ceilings          // the zero value: as high as they can be
	Require     []string          // layers of the sandbox without which no tasks of others run
	Labels      map[string]string // what its owner says of the machine, for whoever places tasks
	KeepTasks   uint64            // ended tasks that are kept, the newest; 0: as many as store keeps
	KeepJobs    uint64            // the same of jobs
	// Verify is how results of tasks are verified that do not say: off when it
	// is the default itself.
	Verify    protocol.Verify
	Dashboard string // TCP address on loopback; empty: off
	// SocketGroup names a group of users who may use the API's socket; empty: none.
	SocketGroup string
	Version     string
	Logger      *slog.Logger
	Ready       func(Info) // called once when everything serves; may be nil
	Begun       func()     // called when a task or a replica for another begins; it must not block; may be nil
}

// Ceilings are the most, besides memory, that one task may use and that its
// module may have. A task that may use more is refused.
type Ceilings struct {
	OutputBytes uint64
	Wall        time.Duration
	Gas         uint64
	FileBytes   uint64
	Files       uint64
	Module      meter.Ceilings
}

// Default returns what a user gets who decides nothing.
func Default() Config {
	most := protocol.MaxLimits()
	return Config{
		Network:   "default",
		Dashboard: "127.0.0.1:0",
		KeepTasks: store.DefaultTasks,
		KeepJobs:  store.DefaultJobs,
		Ceilings: Ceilings{
			OutputBytes: most.OutputBytes,
			Wall:        most.Wall(),
			Gas:         most.Gas,
			FileBytes:   most.FileBytes,
			Files:       uint64(most.Files),
			Module:      meter.Default(),
		},
	}
}

// Validate checks what config.toml may hold, by the names that it has there,
// and fails with [protocol.CodeConfig]. The rest is checked by the rooms that
// it is for.
func (c *Config) Validate() error {
	if err := store.CheckNetworkName(c.Network); err != nil {
		return err
	}
	most, bytes := Default().Ceilings, signed(protocol.SizeText)
	for _, x := range []struct {
		key                string
		value, least, most uint64
		text               func(uint64) string
	}{
		{"memory", cmp.Or(c.MemoryBytes, protocol.MaxMemory), protocol.PageSize, protocol.MaxMemory, bytes},
		{"output", c.Ceilings.OutputBytes, 1, most.OutputBytes, bytes},
		{"wall", uint64(c.Ceilings.Wall), uint64(time.Millisecond), uint64(most.Wall), func(n uint64) string { return protocol.TimeText(time.Duration(n)) }},
		{"gas", c.Ceilings.Gas, 1, most.Gas, signed(protocol.GasText)},
		{"file-bytes", c.Ceilings.FileBytes, 1, most.FileBytes, bytes},
		{"files", c.Ceilings.Files, 1, most.Files, decimal},
		{"module", c.Ceilings.Module.Bytes, 8, most.Module.Bytes, bytes},
		{"functions", c.Ceilings.Module.Functions, 1, most.Module.Functions, decimal},
		{"locals", c.Ceilings.Module.Locals, 1, most.Module.Locals, decimal},
		{"body", c.Ceilings.Module.Body, 2, most.Module.Body, bytes},
		{"nesting", c.Ceilings.Module.Nesting, 1, most.Module.Nesting, decimal},
		{"table-elements", c.Ceilings.Module.Elements, 0, most.Module.Elements, decimal},
	} {
		if x.value < x.least || x.value > x.most {
			is, most := x.text(x.value), x.text(x.most)
			if x.value > x.most {
				is, most = protocol.Apart(x.text, "", x.value, x.most)
			}
			return protocol.Errorf(protocol.CodeConfig, "limits.%s is %s; it can be %s to %s", x.key, is, x.text(x.least), most).
				WithHint("a node may give less than the sandbox's profile, never more")
		}
	}
	if err := c.File.Check(); err != nil {
		return protocol.Errorf(protocol.CodeConfig, "%s", message(err)).WithHint("'spare donate set --help' tells what can be said")
	}
	for _, x := range []struct {
		key         string
		value, most uint64
	}{{"tasks", cmp.Or(c.KeepTasks, 1), 1_000_000}, {"jobs", cmp.Or(c.KeepJobs, 1), 10_000}} {
		if x.value > x.most {
			return protocol.Errorf(protocol.CodeConfig, "keep.%s is %s; it can be 1 to %d", x.key, decimal(x.value), x.most).
				WithHint("write a number such as 1000")
		}
	}
	if err := protocol.ValidateLabels(c.Labels); err != nil {
		return protocol.Errorf(protocol.CodeConfig, "labels: a node has at most %d, such as site=berlin", protocol.MaxLabels).WithHint(protocol.LabelRule)
	}
	known := sandbox.LayerNames()
	for _, name := range c.Require {
		if !slices.Contains(known, name) {
			return protocol.Errorf(protocol.CodeConfig, "sandbox.require: there is no layer %q", protocol.SafeText(name)).
				WithHint("the layers are %s", strings.Join(known, ", "))
		}
	}
	return nil
}

// message is what an error says without its code.
func message(err error) string {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// decimal writes what is below 0 as such: it is beyond every bound, and somebody
// wrote it so.
func decimal(n uint64) string { return strconv.FormatInt(int64(n), 10) }

// signed is text for what may be below 0 as well.
func signed(text func(uint64) string) func(uint64) string {
	return func(n uint64) string {
		if int64(n) < 0 {
			return decimal(n)
		}
		return text(n)
	}
}

// limits are what one task may use.
func (c *Ceilings) limits(memory uint64) *protocol.Limits {
	return &protocol.Limits{
		MemoryBytes: memory,
		OutputBytes: c.OutputBytes,
		WallMs:      uint64(c.Wall.Milliseconds()),
		Gas:         c.Gas,
		FileBytes:   c.FileBytes,
		Files:       uint32(c.Files),
	}
}

// donor is what the machine's owner allows of a machine.
func (c *Config) donor(m donor.Machine) donor.Config {
	file := maps.Clone(c.File)
	if c.MemoryBytes > 0 {
		if file == nil {
			file = make(donor.Rules)
		}
		file[donor.RuleMemory] = strconv.FormatUint(c.MemoryBytes, 10)
	}
	return donor.Config{Machine: m, Flags: c.Flags, File: file, Logger: c.Logger}
}

const (
	// workerRoom is what a worker may need besides its guest's memory and files,
	// in bytes: the engine, and the module and its code. Compiling takes the most.
	workerRoom = 1 << 30
	// An idle worker holds less than idleRoom bytes besides what its guest's
	// memory leaves, and all of them never hold more than mostIdle.
	idleRoom = 64 << 20
	mostIdle = 1 << 30
)

// sandbox is how much its workers may take of a machine that gives so much.
// Those that are idle may hold what one for each slot does. All together have
// room for whatever honest tasks need, so that a full one costs none of them;
// but a quarter of the machine is left to its owner.
func (c *Config) sandbox(capacity donor.Capacity) sandbox.Config {
	slots := uint64(capacity.Slots)
	idle := min(slots*(capacity.MemoryBytes+idleRoom), mostIdle)
	all := slots*(capacity.MemoryBytes+c.Ceilings.FileBytes+workerRoom) + idle
	if host := capacity.HostBytes; host > 0 {
		all = min(all, host/4*3)
	}
	return sandbox.Config{
		Slots: capacity.Slots, Memory: all, IdleMemory: min(idle, all), Ceilings: c.Ceilings.Module, Logger: c.Logger,
	}
}
