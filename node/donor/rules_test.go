package donor

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name, can string
		cannot    string
	}{
		{RuleCPU, "1% 50% 100% 50", "0% 101% -1% half % 50%% 1e1"},
		{RuleSlots, "1 1024", "0 1025 -1 two 1.5"},
		{RuleMemory, "64KiB 65536 4GiB 1gb", "65535 4.1GiB 0 much -1"},
		{RuleDisk, "64MiB 10GiB 1PiB", "63MiB 2PiB 0 none"},
		{RuleIdle, "no 1s 5m 24h", "0 5 999ms 25h -5m yes"},
		{RuleWhen, "always sat mon-fri,sun 22:00-06:00", "never , 22:00 someday"},
		{RuleBattery, "pause ignore", "yes no Pause"},
		{RuleHot, "pause ignore", "yes no 80"},
		{RuleNet, "all 4MiB/s 10MB/s 1GiB 4194304", "0 no 4194303 4MB/s 10 1e3MB/s -1MB/s 10MB/m 2PiB /s"},
		{"donate.all", "", "50%"},
	} {
		for _, text := range strings.Fields(c.can) {
			if err := (Rules{c.name: text}).Check(); err != nil {
				t.Errorf("%s = %q: %v", c.name, text, err)
			}
		}
		for _, text := range append(strings.Fields(c.cannot), "", strings.Repeat(" ", 2000)) {
			if err := (Rules{c.name: text}).Check(); protocol.CodeOf(err) != protocol.CodeBadRequest {
				t.Errorf("%s = %.20q: %v", c.name, text, err)
			}
		}
	}
}

func TestFirstSaidHolds(t *testing.T) {
	flags, set, file := Rules{RuleSlots: "1"}, Rules{RuleSlots: "2", RuleCPU: "50%"}, Rules{RuleSlots: "3", RuleCPU: "75%", RuleWhen: "sat"}
	a, list := settle([]layer{{FromFlags, flags}, {FromSet, set}, {FromFile, file}})
	if a.Slots != 1 || a.CPU != 50 || a.When.String() != "sat" || a.Idle != UsualIdle || a.Battery {
		t.Errorf("%+v", a)
	}
	want := map[string]string{RuleSlots: FromFlags, RuleCPU: FromSet, RuleWhen: FromFile, RuleIdle: FromDefault, RuleMemory: FromDefault}
	for _, s := range list {
		if origin, asked := want[s.Name]; asked && s.Origin != origin {
			t.Errorf("%s is said by %s, want %s", s.Name, s.Origin, origin)
		}
	}
}

func TestCapacity(t *testing.T) {
	const gib = 1 << 30
	for name, c := range map[string]struct {
		m      Machine
		a      Allowance
		slots  int
		memory uint64
	}{
		"nothing said":                  {box, Allowance{CPU: 100}, 4, 2 * gib},
		"slots":                         {box, Allowance{CPU: 100, Slots: 8}, 8, gib},
		"half of the CPUs":              {box, Allowance{CPU: 50}, 2, 4 * gib},
		"a share that is no whole CPU":  {box, Allowance{CPU: 70}, 2, 4 * gib},
		"less than one CPU":             {box, Allowance{CPU: 10}, 1, 4 * gib},
		"fewer slots than their share":  {box, Allowance{CPU: 75, Slots: 2}, 2, 4 * gib},
		"more slots than their share":   {box, Allowance{CPU: 25, Slots: 8}, 1, 4 * gib},
		"memory, in whole pages":        {box, Allowance{CPU: 100, MemoryBytes: protocol.PageSize + 1}, 4, protocol.PageSize},
		"a machine that hides its size": {Machine{CPUs: 2}, Allowance{CPU: 100}, 2, gib},
	} {
		got, err := c.m.capacity(c.a)
		if err != nil || got.Slots != c.slots || got.MemoryBytes != c.memory {
			t.Errorf("%s: %d slots of %d bytes, %v", name, got.Slots, got.MemoryBytes, err)
		}
	}
	if _, err := (Machine{CPUs: 1, HostBytes: 1 << 20}).capacity(Allowance{CPU: 100, Slots: 1024}); protocol.CodeOf(err) != protocol.CodeBadRequest {
		t.Errorf("no page for each: %v", err)
	}
}

func TestRulesAreSetAndKept(t *testing.T) {
	kept := &drawer{records: make(map[string][]byte)}
	changes := 0
	cfg := Config{Flags: Rules{RuleSlots: "4"}, File: Rules{RuleCPU: "75%"}, Store: kept, Changed: func() { changes++ }}
	d := open(t, cfg)
	if c := d.Capacity(); c.Slots != 3 {
		t.Errorf("%d slots by config.toml", c.Slots)
	}
	for _, rules := range []Rules{{RuleCPU: "50%", RuleMemory: "1GiB"}, {RuleSlots: "8", RuleWhen: "mon-sun", RuleMemory: "2GiB"}, {RuleWhen: ""}} {
		if err := d.Set(rules); err != nil {
			t.Fatal(err)
		}
	}
	if changes != 2 { // of the capacity
		t.Errorf("told of %d changes, want 2", changes)
	}
	for _, rules := range []Rules{{RuleCPU: "200%"}, {"donate.all": "1"}, {RuleMemory: "1GiB", RuleSlots: "no"}} {
		if err := d.Set(rules); protocol.CodeOf(err) != protocol.CodeBadRequest {
			t.Errorf("%v: %v", rules, err)
		}
	}
	for _, again := range []*Donor{d, open(t, cfg)} {
		if c, a := again.Capacity(), again.Allowance(); c.Slots != 2 || c.MemoryBytes != 2<<30 || a.When.String() != "always" || a.Slots != 4 {
			t.Errorf("%+v, %+v", c, a)
		}
	}
	kept.records[recordName] = []byte(`{"rules":{"donate.cpu":"none"},"pause":{"finish":true}}`)
	if d := open(t, cfg); d.Capacity().Slots != 3 || d.State().Availability != protocol.Paused {
		t.Errorf("with rules of another version: %+v, %+v", d.Capacity(), d.State())
	}
	if _, err := New(Config{Machine: box, File: Rules{RuleCPU: "none"}, Logger: quietLogger()}); protocol.CodeOf(err) != protocol.CodeBadRequest {
		t.Errorf("a file that cannot be: %v", err)
	}
}

func TestScheduleAndBatteryAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Config{Flags: always})
		var now atomic.Int32
		now.Store(int32(onMains))
		d.host.power = func() power { return power(now.Load()) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		after := func(wait time.Duration, what string, want protocol.Availability, words string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			got := d.State()
			if got.Availability != want || !strings.Contains(got.Reason, words) || got.HandOver != (want != protocol.Open) {
				t.Errorf("%s: %+v, want %s, %q", what, got, want.Word(), words)
			}
		}
		set := func(r Rules) {
			t.Helper()
			if err := d.Set(r); err != nil {
				t.Fatal(err)
			}
		}
		after(0, "at first", protocol.Open, "donating always")
		now.Store(int32(onBattery))
		after(placeEvery, "unplugged", protocol.Paused, "paused, it runs on battery")
		set(Rules{RuleBattery: "ignore"})
		after(0, "unplugged, and that is fine", protocol.Open, "donating always")
		set(Rules{RuleBattery: ""})
		after(0, "it is not", protocol.Paused, "paused, it runs on battery")
		now.Store(int32(onMains))
		after(placeEvery, "plugged in", protocol.Open, "donating always")

		begins := time.Now().Add(90 * time.Minute)
		ends := begins.Add(2 * time.Hour)
		set(Rules{RuleWhen: begins.Local().Format("15:04") + "-" + ends.Local().Format("15:04")})
		after(0, "before it opens", protocol.Paused, "closed by its schedule (")
		begins = d.State().Until
		after(time.Until(begins)-time.Second, "a second before", protocol.Paused, "until "+moment(time.Now(), begins))
		after(time.Second, "open", protocol.Open, "donating always; by its schedule until ")
		after(2*time.Hour-time.Second, "to the last second", protocol.Open, "")
		after(time.Second, "closed", protocol.Paused, "closed by its schedule (")
		if err := d.Pause(Pause{Finish: true}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := d.State(); s.HandOver || !strings.Contains(s.Reason, "by hand") {
			t.Errorf("the owner's own word does not come first: %+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestSupplies(t *testing.T) {
	supply := func(facts ...string) fstest.MapFS {
		dir := make(fstest.MapFS)
		for _, f := range facts {
			name, value, _ := strings.Cut(f, "=")
			dir[name] = &fstest.MapFile{Data: []byte(value + "\n")}
		}
		return dir
	}
	for name, c := range map[string]struct {
		dir  fstest.MapFS
		want power
	}{
		"nothing":              {fstest.MapFS{}, noBattery},
		"mains alone":          {supply("AC/type=Mains", "AC/online=1"), onMains},
		"plugged in":           {supply("AC/type=Mains", "AC/online=1", "BAT0/type=Battery", "BAT0/status=Charging"), onMains},
		"unplugged":            {supply("AC/type=Mains", "AC/online=0", "BAT0/type=Battery", "BAT0/status=Discharging"), onBattery},
		"one battery of two":   {supply("BAT0/type=Battery", "BAT0/status=Not charging", "BAT1/type=Battery", "BAT1/status=Discharging"), onBattery},
		"full":                 {supply("BAT0/type=Battery", "BAT0/status=Full"), onMains},
		"a mouse's battery":    {supply("m/type=Battery", "m/scope=Device", "m/status=Discharging"), noBattery},
		"a supply by USB":      {supply("u/type=USB", "u/online=1", "BAT0/type=Battery", "BAT0/status=Discharging"), onMains},
		"words of nobody":      {supply("x/type=Flux", "y/status=Discharging"), noBattery},
		"a phone that charges": {supply("u/type=USB", "u/online=1", "u/scope=Device"), noBattery},
	} {
		if got := readSupplies(c.dir); got != c.want {
			t.Errorf("%s: %s, want %s", name, got.words(), c.want.words())
		}
	}
	if got := readSupplies(supply("x/type=Mains")); got.words() == powerUnknown.words() {
		t.Error("what can be read is unknown")
	}
}

// What may end while the machine is paused does not compete with its owner.
func TestWhatMayEndStandsStill(t *testing.T) {
	now := time.Now()
	working, away := sight{busy: true, active: true, wants: true, since: now}, sight{}
	for name, c := range map[string]struct {
		pause Pause
		seen  sight
		hold  bool
	}{
		"the owner's programs want the CPUs": {Pause{Finish: true}, working, true},
		"somebody is there, and wants none":  {Pause{Finish: true}, sight{busy: true, since: now}, false},
		"nobody is there":                    {Pause{Finish: true}, away, false},
		"what runs is handed over":           {Pause{}, working, false},
	} {
		got := decide(now, record{Pause: &c.pause}, Allowance{Idle: UsualIdle}, c.seen)
		if got.Hold != c.hold || got.Availability != protocol.Paused {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
