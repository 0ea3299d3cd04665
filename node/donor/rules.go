package donor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/spare-network/spare/protocol"
)

// Names of rules, as config.toml has them too.
const (
	RuleCPU     = "donate.cpu"
	RuleSlots   = "donate.slots"
	RuleMemory  = "limits.memory"
	RuleDisk    = "donate.disk"
	RuleIdle    = "donate.only-idle"
	RuleWhen    = "donate.when"
	RuleBattery = "donate.on-battery"
	RuleHot     = "donate.on-hot"
	RuleNet     = "donate.net"
)

// Rules are what an owner allows, by name and in the words of people. What is
// not there is left to whoever decides next.
type Rules map[string]string

// Allowance is what rules amount to.
type Allowance struct {
	CPU         int           // percent of all CPUs
	Slots       int           // replicas that run at once; 0: one for each CPU
	MemoryBytes uint64        // ceiling for one task; 0: half of the memory, over the slots
	DiskBytes   int64         // of all blobs and compiled code; 0: as the store has it
	Idle        time.Duration // how long others must leave the CPUs alone; 0: whatever they do
	When        Schedule
	Battery     bool  // donates on battery, too
	Hot         bool  // donates when the machine is too hot, too
	NetBytes    int64 // a second that are sent for tasks; 0: as many as may be
}

// Mode is a word for when the machine donates, beside its schedule.
func (a Allowance) Mode() string {
	if a.Idle == 0 {
		return "always"
	}
	return "idle"
}

const (
	minDisk = 64 << 20
	maxDisk = 1 << 50
	minIdle = time.Second
	maxIdle = 24 * time.Hour
	// minNet is so many bytes per second that four transfers which share them are
	// still no slower than what others take for a machine that works: see
	// [protocol.SlowestTransfer].
	minNet  = 4 * protocol.SlowestTransfer
	maxNet  = 1 << 50
	maxText = 1 << 10 // of one rule's value
)

// rule is how one is read.
type rule struct {
	name  string
	wants string // for people
	usual string // what holds when nobody says
	read  func(a *Allowance, text string) bool
}

// rules are all of them.
func rules() []rule {
	return []rule{
		{RuleCPU, "a share of all CPUs from 1% to 100%", "100%", readCPU},
		{RuleSlots, fmt.Sprintf("a number of tasks from 1 to %d", MaxSlots), "", readSlots},
		{RuleMemory, "a size from 64KiB to 4GiB, for one task", "", readMemory},
		{RuleDisk, "a size of at least 64MiB", "", readDisk},
		{RuleIdle, `how long the machine must have been idle, such as "5m", or "no"`, protocol.TimeText(UsualIdle), readIdle},
		{RuleWhen, scheduleWants, "always", readWhen},
		{RuleBattery, `"pause" or "ignore"`, "pause", readBattery},
		{RuleHot, `"pause" or "ignore"`, "pause", readHot},
		{RuleNet, `bytes per second of at least 4MiB/s, such as "10MB/s", or "all"`, "all", readNet},
	}
}

func readCPU(a *Allowance, text string) bool {
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(text, "%")))
	a.CPU = n
	return err == nil && n >= 1 && n <= 100
}

func readSlots(a *Allowance, text string) bool {
	n, err := strconv.Atoi(text)
	a.Slots = n
	return err == nil && n >= 1 && n <= MaxSlots
}

func readMemory(a *Allowance, text string) (ok bool) {
	n, err := humanize.ParseBytes(text)
	a.MemoryBytes = n
	return err == nil && n >= protocol.PageSize && n <= protocol.MaxMemory
}

func readDisk(a *Allowance, text string) bool {
	n, err := humanize.ParseBytes(text)
	a.DiskBytes = int64(min(n, maxDisk+1))
	return err == nil && n >= minDisk && n <= maxDisk
}

func readIdle(a *Allowance, text string) bool {
	if a.Idle = 0; text == "no" {
		return true
	}
	d, err := time.ParseDuration(text)
	a.Idle = d
	return err == nil && d >= minIdle && d <= maxIdle
}

func readWhen(a *Allowance, text string) bool {
	var err error
	a.When, err = ParseSchedule(text)
	return err == nil
}

func readBattery(a *Allowance, text string) bool {
	a.Battery = text == "ignore"
	return a.Battery || text == "pause"
}

func readHot(a *Allowance, text string) bool {
	a.Hot = text == "ignore"
	return a.Hot || text == "pause"
}

func readNet(a *Allowance, text string) bool {
	if a.NetBytes = 0; text == "all" {
		return true
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(text, "/s"))
	a.NetBytes = int64(min(n, maxNet+1))
	return err == nil && n >= minNet && n <= maxNet
}

// CheckRule reports whether a rule can be so, and says what it wants to be.
func CheckRule(name, text string) (wants string, ok bool) {
	for _, r := range rules() {
		if r.name == name {
			return r.wants, len(text) <= maxText && r.read(new(Allowance), text)
		}
	}
	return "one of " + strings.Join(RuleNames(), ", "), false
}

// RuleNames returns the names of all rules.
func RuleNames() (names []string) {
	for _, r := range rules() {
		names = append(names, r.name)
	}
	return names
}

// Check returns what is wrong with the first of the rules that cannot be, or nil.
func (r Rules) Check() error {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		wants, ok := CheckRule(name, r[name])
		switch {
		case ok:
		case slices.Contains(RuleNames(), name):
			return protocol.Errorf(protocol.CodeBadRequest, "%s is %.100q: it must be %s", name, protocol.SafeText(r[name]), wants).
				WithHint("'spare donate set --help' shows how each is written")
		default:
			return protocol.Errorf(protocol.CodeBadRequest, "there is no rule of donating %.100q", protocol.SafeText(name)).
				WithHint("they are %s", strings.Join(RuleNames(), ", "))
		}
	}
	return nil
}

// Setting is what holds of a rule, and where it was said.
type Setting struct {
	Name   string
	Value  string // for people; empty: as the machine has it
	Origin string
}

// Where rules are said, the first first.
const (
	FromFlags   = "flag of spare up"
	FromSet     = "spare donate set"
	FromFile    = "config.toml"
	FromDefault = "default"
)

// layer is rules with where they were said.
type layer struct {
	origin string
	rules  Rules
}

// settle says what holds when each rule is taken from the first layer that has
// it. All of them have passed [Rules.Check].
func settle(layers []layer) (a Allowance, list []Setting) {
	for _, r := range rules() {
		s := Setting{r.name, r.usual, FromDefault}
		for _, l := range layers {
			if text, said := l.rules[r.name]; said {
				s.Value, s.Origin = text, l.origin
				break
			}
		}
		if s.Value != "" {
			r.read(&a, s.Value)
		}
		list = append(list, s)
	}
	return a, list
}
