package node

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime"
	"strconv"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// unmet names the first of the required layers that are missing.
func unmet(missing []sandbox.Layer) string {
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("the sandbox layer %s is required and not in force: %s", missing[0].Name, missing[0].Why)
}

// stance is whether tasks of others run here now, and why or why not, in words
// for the node's user.
func (n *Node) stance() donor.Stance {
	if n.unmet != "" {
		return donor.Stance{Availability: protocol.Paused, Reason: n.unmet}
	}
	return n.donor.State()
}

// told is the availability in words for strangers, who need not know what this
// machine lacks. It is asked for every task.
func (n *Node) told() (protocol.Availability, string) {
	if n.unmet != "" {
		return protocol.Paused, "a required layer of the sandbox is not in force"
	}
	s := n.donor.State()
	return s.Availability, s.Reason
}

// donorChanged has the node follow what the donor has decided.
func (n *Node) donorChanged() {
	n.following.Lock() // what is newest is done last
	defer n.following.Unlock()
	s := n.donor.State()
	n.sandbox.Hold(s.Hold, n.self) // before all else: the owner waits
	n.bound()
	c := n.donor.Capacity()
	if slots, memory := n.provider.Given(); slots != c.Slots || memory != c.MemoryBytes {
		n.sandbox.Resize(c.Slots)
		n.provider.Resize(c.Slots, queuePerSlot*c.Slots, c.MemoryBytes)
	}
	n.provider.NoteAvailability()
	if s.HandOver {
		n.provider.HandOver(s.Reason)
	}
}

// codeShare is the part of the disk that compiled code may take of what is
// allowed, and mostCode the most, in bytes.
const (
	codeShare = 4
	mostCode  = 4 << 30
)

// bound keeps the workers, what is stored, and what is sent and taken within what the
// owner allows.
func (n *Node) bound() {
	a := n.donor.Allowance()
	if n.network != nil { // which is opened last
		n.network.BoundTraffic(a.NetBytes)
	}
	processors := 0.0
	if a.CPU < 100 {
		processors = float64(n.donor.Capacity().CPUs) * float64(a.CPU) / 100
	}
	n.cpuHeld.Store(n.sandbox.BoundCPU(processors))
	blobs, code := split(a.DiskBytes)
	n.sandbox.BoundCache(code)
	n.store.Blobs().Bound(blobs)
}

// split divides what may be stored among blobs and compiled code; 0 is what
// either has when nobody says.
func split(disk int64) (blobs, code int64) {
	if disk == 0 {
		return 0, mostCode
	}
	code = min(disk/codeShare, mostCode)
	return disk - code, code
}

// donates says for people when tasks of others are taken.
func (n *Node) donates() string {
	a := n.donor.Allowance()
	text := "always"
	if a.Idle > 0 {
		text = "when idle: it pauses while others use more than a quarter of the CPU (--donate always)"
	}
	if s := a.When.String(); s != "always" {
		text += ", and only " + s
	}
	return text
}

// donation is the stance as the API shows it.
func (n *Node) donation() api.Donate {
	s := n.stance()
	d := api.Donate{Mode: n.donor.Allowance().Mode(), State: s.Availability.Word(), Reason: s.Reason}
	if !s.Until.IsZero() {
		until := api.Time(s.Until)
		d.Until = &until
	}
	return d
}

// sizeSaid is a size in words, of which the same is read back if somebody has said it.
func sizeSaid(s donor.Setting, n uint64) string {
	if s.Value == "" {
		return protocol.SizeText(n)
	}
	unit := min(bits.TrailingZeros64(n)/10, 4)
	return fmt.Sprintf("%d %s", n>>(10*unit), []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// rules are those of donating, with what each does on this machine.
func (n *Node) rules() (list []api.Setting) {
	a, c := n.donor.Allowance(), n.donor.Capacity()
	for _, s := range n.donor.Settings() {
		out := api.Setting{Key: s.Name, Value: s.Value, Origin: s.Origin}
		switch s.Name {
		case donor.RuleCPU:
			out.Value = fmt.Sprintf("%d%%", a.CPU) // also of a bare number
			out.Note = n.cpuNote(a.CPU, c)
		case donor.RuleSlots:
			out.Value = cmp.Or(out.Value, strconv.Itoa(c.Slots))
			out.Note = fmt.Sprintf("%d at once now", c.Slots)
		case donor.RuleMemory:
			out.Value = sizeSaid(s, c.MemoryBytes)
			out.Note = "each; a task that may use more is refused"
		case donor.RuleDisk:
			blobs, code := split(a.DiskBytes)
			out.Value = sizeSaid(s, uint64(cmp.Or(a.DiskBytes, 10<<30+code)))
			out.Note = fmt.Sprintf("%s for programs, inputs and results, %s for compiled code", protocol.SizeText(uint64(cmp.Or(blobs, 10<<30))), protocol.SizeText(uint64(code)))
		case donor.RuleIdle:
			if a.Idle > 0 {
				out.Value = protocol.TimeText(a.Idle)
			}
			out.Note = "others than spare use less than a quarter of the CPUs for so long, " + n.donor.Input()
			switch {
			case a.Idle == 0:
				out.Note = "whatever others than spare do"
			case runtime.GOOS != "linux":
				out.Note = "what others use of the CPUs is unknown on this system, " + n.donor.Input()
			}
		case donor.RuleWhen:
			out.Note = "by this machine's clock, " + time.Now().Format("MST")
		case donor.RuleBattery:
			out.Note = n.donor.Power()
		case donor.RuleHot:
			out.Note = n.donor.Heat()
		case donor.RuleNet:
			out.Note = "sent to others of blobs and output streams, and taken of blobs; what rides in messages, up to 64 KiB each, is not counted"
		}
		list = append(list, out)
	}
	return list
}

// cpuNote says how a share of the CPUs is kept here.
func (n *Node) cpuNote(percent int, c donor.Capacity) string {
	switch {
	case percent == 100:
		return fmt.Sprintf("of %d CPUs, at the lowest priority", c.CPUs)
	case n.cpuHeld.Load():
		return fmt.Sprintf("of %d CPUs, kept by the kernel (control group): %d tasks at once", c.CPUs, c.Slots)
	default:
		return fmt.Sprintf("of %d CPUs, kept by the number of tasks alone, %d at once, since there is no control group (see 'spare doctor'): a program that is compiled may take two CPUs for a moment", c.CPUs, c.Slots)
	}
}

// Settings tells every value that the user may decide, and where it was.
func (v view) Settings() []api.Setting {
	return append(v.rules(), v.cfg.Settings...)
}

// Settings tells what a node would follow that is started in cfg's home now.
func Settings(cfg Config) ([]api.Setting, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := cfg.donor(donor.Measure(cfg.Logger))
	limits.Store = store.Resting(cfg.Home)
	d, err := donor.New(limits)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, donor: d}
	list := n.rules()
	for i := range list {
		list[i].Note = ""
	}
	return append(list, cfg.Settings...), nil
}

// owner takes what the machine's owner decides.
type owner struct{ *Node }

// Pause has nothing new of others run, for a while or, with 0, until Resume.
// What runs is handed over, or with finish may end.
func (o owner) Pause(d time.Duration, finish bool) (api.Donate, error) {
	p := donor.Pause{Finish: finish}
	if d > 0 {
		p.Until = time.Now().Add(d)
	}
	err := o.donor.Pause(p)
	return o.donation(), err
}

// Resume takes a pause back.
func (o owner) Resume() (api.Donate, error) {
	err := o.donor.Resume()
	return o.donation(), err
}

// Donation tells whether the node donates, and by which rules.
func (o owner) Donation() api.Donation {
	asked := o.provider.Asked()
	d := api.Donation{Donate: o.donation(), Rules: o.rules(), Asked: api.Asked{Taken: asked.Taken, Refused: asked.Refused, HandedOver: asked.HandedOver}}
	if last := asked.Last; !last.At.IsZero() {
		d.Asked.LastRefusal = &api.Refused{
			Peer: last.Requester.String(), Code: string(last.Code), Message: protocol.SafeText(last.Message), At: api.Time(last.At),
		}
	}
	return d
}

// SetRules changes the rules that are named; one that is empty is taken back.
func (o owner) SetRules(rules map[string]string) (api.Donation, error) {
	err := o.donor.Set(rules)
	return o.Donation(), err
}
