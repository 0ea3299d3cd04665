package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// topColumn is one of a list. What has no room goes, the highest rank first.
type topColumn struct {
	title string
	width int
	rank  int
	grows bool // takes what is left
}

var (
	topPeerColumns = []topColumn{
		{"PEER", 16, 0, false},
		{"LINK", 4, 2, false},
		{"RTT", 9, 1, false},
		{"LOAD", 13, 1, false},
		{"TAKES TASKS", 11, 3, false},
		{"SPEED", 5, 5, false},
		{"MEMORY", 8, 6, false},
		{"BALANCE", 9, 7, false},
		{"TRUST", 12, 4, true},
	}
	topWorkColumns = []topColumn{
		{"ID", 10, 0, false},
		{"STATE", 12, 0, true},
		{"PROGRESS", 13, 1, false},
		{"PROGRAM", 14, 2, true},
		{"WHERE", 16, 3, false},
		{"AGE", 4, 4, false},
		{"TIME", 9, 5, false},
	}
)

var topGuestColumns = []topColumn{
	{"REQUESTER", 16, 0, false},
	{"PROGRAM", 12, 1, true},
	{"STATE", 12, 0, true},
	{"TIME", 9, 2, false},
	{"GAS", 8, 4, false},
	{"AGE", 4, 3, false},
	{"TASK", 10, 5, false},
}

// bar is how much of something is there, in so many characters.
func bar(part, whole uint64, width int) string {
	full := 0
	if whole > 0 {
		full = int(min(part, whole) * uint64(width) / whole)
	}
	if full == 0 && part > 0 {
		full = 1
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

func (m *topModel) peerRows() (rows []topRow) {
	peers := slices.SortedFunc(maps.Values(m.peers), func(a, b api.Peer) int { // nearest first
		switch {
		case a.RTTMS != nil && b.RTTMS != nil && *a.RTTMS != *b.RTTMS:
			return cmp.Compare(*a.RTTMS, *b.RTTMS)
		case a.RTTMS != nil && b.RTTMS == nil:
			return -1
		case a.RTTMS == nil && b.RTTMS != nil:
			return 1
		}
		return cmp.Compare(a.Peer, b.Peer)
	})
	for _, p := range peers {
		link, load, takes, speed, memory := "no", "unknown", "no offer", "-", "-"
		if p.Connected {
			link = "yes"
		}
		if p.OfferAgeMS != nil {
			load = fmt.Sprintf("%s %d/%d", bar(uint64(p.Inflight), uint64(p.Slots), 6), p.Inflight, p.Slots)
			takes, speed, memory = p.Availability, fmt.Sprintf("%.2f", p.Speed), protocol.SizeText(p.MemoryBytes)
		}
		rows = append(rows, topRow{
			id: p.Peer, kind: "peer", tells: func() string { return tellPeer(&p) },
			cells: []string{shortPeer(p.Peer), link, millis(p.RTTMS), load, takes, speed, memory, balance(p.ReceivedGas, p.ServedGas), p.Trust},
		})
	}
	return rows
}

// tellPeer is all that is known of a peer.
func tellPeer(p *api.Peer) string {
	rows := [][]string{{"peer", p.Peer}, {"connected", fmt.Sprint(p.Connected)}, {"round trip", millis(p.RTTMS)}}
	for _, a := range p.Addrs {
		rows = append(rows, []string{"address", a})
	}
	if p.OfferAgeMS == nil {
		rows = append(rows, []string{"offer", "none: it is asked for nothing"})
	} else {
		rows = append(rows, [][]string{
			{"takes tasks", p.Availability},
			{"load", fmt.Sprintf("%d of %d slots", p.Inflight, p.Slots)},
			{"memory", protocol.SizeText(p.MemoryBytes) + " for a task"},
			{"speed", fmt.Sprintf("%.2f", p.Speed)},
			{"warm", fmt.Sprintf("%d modules", p.Warm)},
			{"machine", p.Arch},
			{"version", p.Version},
			{"offer age", span(time.Duration(*p.OfferAgeMS) * time.Millisecond)},
		}...)
	}
	return textOf(append(rows, [][]string{
		{"run for it", protocol.GasText(p.ServedGas) + " gas"},
		{"run by it", protocol.GasText(p.ReceivedGas) + " gas"},
		{"trust", p.Trust},
	}...))
}

// guestRows are of what runs here for others, then of what has.
func (m *topModel) guestRows() (rows []topRow) {
	for i, g := range slices.Concat(m.guests.Now, m.guests.Lately) {
		state, took, since := g.State, "", g.Since
		switch {
		case g.Exit != nil && *g.Exit != 0:
			state += fmt.Sprintf(", exit %d", *g.Exit)
		case g.Code != "":
			state += ", " + g.Code
		}
		if g.WallMS != nil {
			took = millis(g.WallMS)
		}
		if g.Ended != nil {
			since = *g.Ended
		}
		rows = append(rows, topRow{
			// One task may have run here more than once.
			id: fmt.Sprintf("%s %s %d", g.Requester, g.Task, time.Time(g.Since).UnixMilli()), kind: "guest", ended: i >= len(m.guests.Now),
			tells: func() string { return m.tellGuest(&g) },
			cells: []string{shortPeer(g.Requester), g.Name, state, took, protocol.GasText(g.Gas), m.age(since), g.Task},
		})
	}
	return rows
}

// tellGuest is all that is known of a guest, and of its requester.
func (m *topModel) tellGuest(g *api.Guest) string {
	rows := [][]string{
		{"requester", g.Requester},
		{"program", g.Name},
		{"task", g.Task},
		{"module", g.Module},
		{"state", g.State},
		{"why", g.Code},
		{"since", clock(&g.Since)},
		{"ended", clock(g.Ended)},
		{"gas", protocol.GasText(g.Gas)},
	}
	for _, t := range m.guests.Totals {
		if t.Requester == g.Requester {
			rows = append(rows, []string{"its total", fmt.Sprintf("%d tasks, %s, %s gas", t.Tasks, protocol.TimeText((time.Duration(t.WallMS) * time.Millisecond).Round(time.Second)), protocol.GasText(t.Gas))})
		}
	}
	return textOf(append(rows,
		[]string{"donated to all", donatedText(m.guests.Donated)},
		[]string{"to have no more", "spare block " + shortPeer(g.Requester)}))
}

// textOf is a table as text.
func textOf(rows [][]string) string {
	var b bytes.Buffer
	_ = table(&b, nil, rows) // a buffer takes all
	return b.String()
}

func (m *topModel) workRows() (rows []topRow) {
	type dated struct {
		topRow
		at time.Time
	}
	var all []dated
	for _, t := range m.tasks {
		took := ""
		if t.WallMS != nil {
			took = millis(t.WallMS)
		}
		row := topRow{id: t.ID, kind: "task", ended: t.Ended != nil, cells: []string{t.ID, stateText(&t), "", t.Name, whereOf(&t), m.age(t.Submitted), took}}
		all = append(all, dated{row, time.Time(t.Submitted)})
	}
	for _, j := range m.jobs {
		state, done, took := j.State, j.Passed+j.Failed, ""
		if isHalted(&j) {
			state = "halted"
		}
		if j.Failed > 0 {
			state += fmt.Sprintf(", %d failed", j.Failed)
		}
		if j.Ended != nil {
			ms := api.Millis(time.Time(*j.Ended).Sub(time.Time(j.Submitted)))
			took = millis(&ms)
		}
		row := topRow{id: j.ID, kind: "job", ended: j.Ended != nil, cells: []string{
			j.ID, state, fmt.Sprintf("%s %d%%", bar(done, j.Tasks, 8), 100*done/max(j.Tasks, 1)), j.Name, plural(j.Tasks, "task"), m.age(j.Submitted), took,
		}}
		all = append(all, dated{row, time.Time(j.Submitted)})
	}
	slices.SortFunc(all, func(a, b dated) int { // what goes on comes first, then the newest
		return cmp.Or(b2i(a.ended)-b2i(b.ended), b.at.Compare(a.at), cmp.Compare(a.id, b.id))
	})
	for _, d := range all {
		rows = append(rows, d.topRow)
	}
	return rows
}

func (m *topModel) age(t api.Time) string { return span(m.now.Sub(time.Time(t))) }

// nodeRows are of this node, a line each: what it is called and what it is.
func (m *topModel) nodeRows() (rows []topRow) {
	if !m.known {
		return nil
	}
	s := &m.status
	add := func(name, text string) {
		for i, line := range strings.Split(ansi.Wrap(protocol.SafeText(text), max(10, m.width-topLabel-1), " "), "\n") {
			if i > 0 {
				name = ""
			}
			rows = append(rows, topRow{cells: []string{name, line}})
		}
	}
	add("takes tasks", takesTasks(s.Donate))
	if s.Donate.Until != nil {
		add("until", clock(s.Donate.Until))
	}
	add("why", m.why().Why)
	add("slots", fmt.Sprintf("%s %d of %d running, %d waiting", bar(uint64(s.Running), uint64(s.Slots), 10), s.Running, s.Slots, s.Queued))
	add("node uses", m.uses())
	add("workers", fmt.Sprintf("%d, %d busy, %s", s.Sandbox.Workers, s.Sandbox.Busy, protocol.SizeText(s.Sandbox.MemoryBytes)))
	a := m.donation.Asked
	add("asked", fmt.Sprintf("%d taken from others, %d refused, %d handed over", a.Taken, a.Refused, a.HandedOver))
	if r := a.LastRefusal; r != nil {
		add("last refused", fmt.Sprintf("%s %s ago: %s: %s", shortPeer(r.Peer), m.age(r.At), r.Code, r.Message))
	}
	add("work", fmt.Sprintf("%s gas run for others, %s by others", protocol.GasText(s.ServedGas), protocol.GasText(s.ReceivedGas)))
	add("peers", fmt.Sprintf("%d connected, %d with an offer", s.PeersConnected, s.PeersKnown))
	add("blobs", fmt.Sprintf("%d, %s", s.Blobs.Count, protocol.SizeText(uint64(max(s.Blobs.Bytes, 0)))))
	add("warm", fmt.Sprintf("%d modules", len(s.Warm)))
	add("sandbox", fmt.Sprintf("%d of %d layers in force", s.Sandbox.InForce(), len(s.Sandbox.Layers)))
	for _, r := range m.donation.Rules {
		add(r.Key, fmt.Sprintf("%s (%s)", cmp.Or(r.Value, "-"), r.Origin))
	}
	add("up", m.age(s.Started))
	add("version", s.Version)
	add("home", s.Home)
	for _, addr := range s.Addrs {
		add("address", addr)
	}
	for _, r := range s.Refused {
		add("refused", fmt.Sprintf("%s %s ago: %s: %s", shortPeer(r.Peer), m.age(r.At), r.Code, r.Message))
	}
	return rows
}

// tellNode is why the node runs tasks of others or none, and what it gives.
func (m *topModel) tellNode() string {
	n := m.why()
	var b bytes.Buffer
	_ = printNodeWhy(&b, n) // a buffer takes all
	b.WriteString("\n")
	_ = printDonation(&b, m.donation)
	return b.String()
}

func (m *topModel) why() nodeWhy {
	s := &m.status
	n := nodeWhy{Donation: m.donation, Running: s.Running, Slots: s.Slots, Queued: s.Queued, PeersConnected: s.PeersConnected}
	n.Why = n.because(s.Donate.State)
	return n
}

// uses is what the node's own process takes.
func (m *topModel) uses() string {
	was, is := m.process[0], m.process[1]
	if is.ResidentBytes == 0 {
		return "unknown"
	}
	text := protocol.SizeText(is.ResidentBytes)
	if passed := is.At.Sub(was.At); was.CPU > 0 && passed > 0 && is.CPU >= was.CPU {
		text = fmt.Sprintf("%.1f %% of a core, ", 100*float64(is.CPU-was.CPU)/float64(passed)) + text
	}
	return text
}
