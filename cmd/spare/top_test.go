package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// 'go test ./cmd/spare -run Top -golden' writes the screens anew.
var golden = flag.Bool("golden", false, "write the screens of 'spare top' anew")

var topNow = apitest.Submitted.Add(time.Hour)

// topScene is a model that has been told of a node, and what it ordered.
type topScene struct {
	*topModel
	orders []topOrder
	fails  error
	quit   bool
}

func newTopScene(width, height int) *topScene {
	s := &topScene{}
	s.topModel = newTopModel(topNow, func(o topOrder) tea.Msg {
		s.orders = append(s.orders, o)
		return topAnswer{o, "why  done on 12D3KooWHdiAxVd8: nearest\n\nand more", s.fails}
	})
	s.tell(tea.WindowSizeMsg{Width: width, Height: height}, topAllOf(), topGuestsOf(), topHeard(topNow))
	return s
}

func topAllOf() topAll {
	ended := api.Time(topNow.Add(-time.Minute))
	seven, wall, rtt := int32(7), 40.125, 320.0
	n := apitest.New("/home/me")
	all := topAll{status: n.Status(), donation: n.Donation(), peers: n.Peers()}
	all.status.PID = 1
	all.peers = append(all.peers,
		api.Peer{Peer: "12D3KooWFar", Connected: true, RTTMS: &rtt, Trusted: true, Trust: "\x1b[31mred\nand 名前 wide names that are long"},
		api.Peer{Peer: "12D3KooWUnknown", Trust: "new"})
	all.tasks = []api.Task{
		{
			ID: "aaaaaaaaaa", Name: "seven.wasm", State: "done", ExitCode: &seven, WallMS: &wall, Submitted: api.Time(topNow.Add(-2 * time.Minute)), Ended: &ended,
			Attempts: []api.Attempt{{Attempt: 1, Provider: apitest.Other, State: "done"}},
		},
		{
			ID: "bbbbbbbbbb", Name: "\x1b]0;title\x07block.wasm", State: "running", Submitted: api.Time(topNow.Add(-time.Hour)),
			Attempts: []api.Attempt{{Attempt: 1, Provider: apitest.Self, Self: true, State: "running"}},
		},
	}
	all.jobs = []api.Job{{ID: "jjjjjjjjjj", Name: "render.wasm", State: "running", Tasks: 10_000, Passed: 4200, Failed: 3, Submitted: api.Time(topNow.Add(-30 * time.Second))}}
	return all
}

func topGuestsOf() api.Guests {
	ended, since, exit, wall := api.Time(topNow.Add(-time.Minute)), api.Time(topNow.Add(-2*time.Minute)), int32(1), 61_500.0
	return api.Guests{
		Now:     []api.Guest{{Requester: apitest.Other, Name: "theirs.wasm\x1b[2J", Task: "gggggggggg", State: "running", Since: since, WallMS: &wall, Gas: 3e9}},
		Lately:  []api.Guest{{Requester: apitest.Other, Name: "old.wasm", Task: "hhhhhhhhhh", State: "failed", Since: since, Ended: &ended, Exit: &exit, WallMS: &wall, Gas: 1e9}},
		Totals:  []api.GuestTotal{{Requester: apitest.Other, Requesters: 1, Tasks: 12, WallMS: 3_600_000, Gas: 5e12}},
		Donated: api.Donated{Tasks: 12, SlotMS: 3_600_000, Gas: 5e12, Since: api.Time(topNow.Add(-48 * time.Hour))},
	}
}

// tell has the model told, and does what it then wants but wait for the clock.
func (s *topScene) tell(msgs ...tea.Msg) {
	for _, msg := range msgs {
		_, cmd := s.Update(msg)
		if _, tick := msg.(topTick); tick || cmd == nil {
			continue
		}
		switch answer := cmd().(type) {
		case tea.QuitMsg:
			s.quit = true
		default:
			s.tell(answer)
		}
	}
}

func (s *topScene) press(keys ...string) *topScene {
	for _, key := range keys {
		s.tell(topKey(key))
	}
	return s
}

func topKey(key string) tea.KeyPressMsg {
	for code, name := range map[rune]string{
		tea.KeyTab: "tab", tea.KeyEnter: "enter", tea.KeyEscape: "esc", tea.KeyBackspace: "backspace", tea.KeyUp: "up", tea.KeyDown: "down",
		tea.KeyLeft: "left", tea.KeyRight: "right", tea.KeyHome: "home", tea.KeyEnd: "end", tea.KeyPgDown: "pgdown", tea.KeyPgUp: "pgup",
	} {
		if key == name {
			return tea.KeyPressMsg{Code: code}
		}
	}
	if key == "ctrl+c" {
		return tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(key)[0], Text: key}
}

// plain is the screen without colours.
func (s *topScene) plain() string {
	var b strings.Builder
	for _, line := range s.screen() {
		b.WriteString(strings.TrimRight(ansi.Strip(line), " ") + "\n")
	}
	return b.String()
}

func TestTopScreens(t *testing.T) {
	hour := func(s *topScene) { s.tell(topTick(topNow.Add(20 * time.Second))) }
	for _, test := range []struct {
		name          string
		width, height int
		play          func(*topScene)
	}{
		{"node", 80, 24, func(s *topScene) {
			s.tell(client.Process{CPU: time.Second, ResidentBytes: 40 << 20, At: topNow}, client.Process{CPU: 1010 * time.Millisecond, ResidentBytes: 41 << 20, At: topNow.Add(2 * time.Second)})
		}},
		{"node-why", 80, 24, func(s *topScene) {
			s.donation.Asked.LastRefusal = nil // whose age is by another clock
			s.press("enter")
		}},
		{"node-end", 80, 24, func(s *topScene) { s.press("end") }},
		{"node-narrow", 40, 12, func(*topScene) {}},
		{"peers", 80, 24, func(s *topScene) { s.press("tab") }},
		{"peers-wide", 130, 10, func(s *topScene) { s.press("2", "down") }},
		{"peers-narrow", 32, 10, func(s *topScene) { s.press("2", "down", "down") }},
		{"peer", 80, 24, func(s *topScene) { s.press("2", "enter") }},
		{"work", 80, 24, func(s *topScene) { s.press("3") }},
		{"work-narrow", 40, 10, func(s *topScene) { s.press("3", "down", "down") }},
		{"task", 80, 24, func(s *topScene) { s.press("3", "end", "enter") }},
		{"task-sideways", 40, 10, func(s *topScene) { s.press("3", "end", "enter", "right", "down") }},
		{"guests", 80, 12, func(s *topScene) { s.press("4") }},
		{"guests-narrow", 40, 8, func(s *topScene) { s.press("4") }},
		{"guests-none", 80, 12, func(s *topScene) { s.press("4").tell(api.Guests{}) }},
		{"guest", 80, 20, func(s *topScene) { s.press("4", "enter") }},
		{"filter", 80, 12, func(s *topScene) { s.press("3", "/", "s", "e", "x", "backspace", "v", "enter") }},
		{"filter-none", 80, 12, func(s *topScene) { s.press("3", "/", "z", "z") }},
		{"cancel", 80, 12, func(s *topScene) { s.press("3", "down", "c") }},
		{"pause", 80, 12, func(s *topScene) { s.press("p") }},
		{"help", 80, 24, func(s *topScene) { s.press("?") }},
		{"stale", 80, 12, func(s *topScene) { s.tell(topLost{"E-SHUTDOWN: the node stopped"}); hour(s) }},
		{"silent", 80, 12, hour},
		{"small", 19, 5, func(*topScene) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTopScene(test.width, test.height)
			test.play(s)
			got := s.plain()
			file := filepath.Join("testdata", "top", test.name+".txt")
			if *golden {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestTopFits holds that no screen is larger than the terminal, and that nothing of
// strangers can move its cursor.
func TestTopFits(t *testing.T) {
	for width := 1; width < 140; width += 3 {
		for _, height := range []int{1, 5, 6, 7, 24} {
			for _, keys := range [][]string{{"1"}, {"2"}, {"3"}, {"4"}, {"4", "enter"}, {"2", "enter"}, {"3", "enter", "right"}, {"?"}, {"3", "c"}, {"p"}, {"/", "x"}} {
				s := newTopScene(width, height).press(keys...)
				lines := s.screen()
				if height >= 6 && width >= 20 && len(lines) != height || len(lines) > height {
					t.Fatalf("%dx%d %q: %d lines", width, height, keys, len(lines))
				}
				for _, line := range lines {
					if w := ansi.StringWidth(line); w > width {
						t.Fatalf("%dx%d %q: a line is %d wide: %q", width, height, keys, w, line)
					}
					if plain := ansi.Strip(line); strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(line, "\x1b]") || strings.Contains(line, "\x1b[31mred") {
						t.Fatalf("%dx%d %q: a line has a control character of a stranger: %q", width, height, keys, line)
					}
				}
			}
		}
	}
}

func TestTopOrders(t *testing.T) {
	node := func(verb string, long time.Duration) topOrder { return topOrder{verb: verb, kind: "node", long: long} }
	for _, test := range []struct {
		keys string
		want []topOrder
		said string
	}{
		{"r", []topOrder{node("resume", 0)}, "resumed"},
		{"p p", []topOrder{node("pause", 0)}, "paused"},
		{"p 1", []topOrder{node("pause", time.Hour)}, "paused"},
		{"p f", []topOrder{node("finish", 0)}, "paused"},
		{"p esc r", []topOrder{node("resume", 0)}, "resumed"},
		{"p n", nil, ""},
		{"c", nil, "tasks and jobs can be cancelled, in view 3"},
		{"3 c y", []topOrder{{verb: "cancel", kind: "job", id: "jjjjjjjjjj"}}, "cancelled job jjjjjjjjjj"},
		{"3 down c y", []topOrder{{verb: "cancel", kind: "task", id: "bbbbbbbbbb"}}, "cancelled task bbbbbbbbbb"},
		{"3 down c n", nil, ""},
		{"3 down c enter", nil, ""},
		{"3 end c", nil, "task aaaaaaaaaa has ended already"},
		{"3 / z enter c", nil, "there is nothing to cancel"},
		{"3 end enter", []topOrder{{verb: "tell", kind: "task", id: "aaaaaaaaaa"}}, ""},
		{"3 / q esc", nil, ""},
	} {
		s := newTopScene(80, 24).press(strings.Fields(test.keys)...)
		if fmt.Sprint(s.orders) != fmt.Sprint(test.want) || s.said != test.said || s.quit {
			t.Errorf("%q: ordered %v and said %q, want %v and %q", test.keys, s.orders, s.said, test.want, test.said)
		}
	}
	s := newTopScene(80, 24)
	s.fails = protocol.Errorf(protocol.CodeNoNode, "no node answers")
	if s.press("r"); !strings.Contains(s.said, "E-NO-NODE") {
		t.Errorf("a failure says %q", s.said)
	}
}

func TestTopQuits(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "ctrl+c": true, "? q": false, "? q q": true, "/ q": false, "/ ctrl+c": true, "p q": false} {
		if s := newTopScene(80, 24).press(strings.Fields(keys)...); s.quit != want {
			t.Errorf("%q: quit %v, want %v", keys, s.quit, want)
		}
	}
}

// TestTopFollows tells of changes: the chosen line stays chosen wherever it goes.
func TestTopFollows(t *testing.T) {
	s := newTopScene(80, 24).press("3", "down")
	for i := range 3 * topTasks {
		s.tell(api.Task{ID: fmt.Sprintf("n%09d", i), Name: "new.wasm", State: "running", Submitted: api.Time(topNow.Add(time.Duration(i) * time.Second))})
	}
	if len(s.tasks) > topTasks+topTasks/10 {
		t.Errorf("%d tasks are remembered", len(s.tasks))
	}
	if s = newTopScene(80, 24).press("3", "down"); s.chosen[topWork] != "bbbbbbbbbb" {
		t.Fatalf("%s is chosen", s.chosen[topWork])
	}
	for i := range 100 {
		s.tell(api.Task{ID: fmt.Sprintf("n%09d", i), Name: "new.wasm", State: "running", Submitted: api.Time(topNow)})
	}
	if row, _ := s.current(); row.id != "bbbbbbbbbb" || !strings.Contains(s.plain(), "bbbbbbbbbb") {
		t.Errorf("%s is chosen, or not shown:\n%s", row.id, s.plain())
	}
	s.press("2").tell(api.PeerChanges{Gone: []string{apitest.Other}})
	if strings.Contains(s.plain(), apitest.Other[:16]) {
		t.Errorf("a peer that has gone is shown:\n%s", s.plain())
	}
	s.tell(topLost{"gone"}, topAllOf(), topHeard(topNow.Add(time.Minute)))
	if got := s.plain(); strings.Contains(got, "STALE") || !strings.Contains(got, "live") || !strings.Contains(got, apitest.Other[:16]) {
		t.Errorf("after the node's return:\n%s", got)
	}
}
