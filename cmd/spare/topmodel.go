package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// Views of 'spare top'.
const (
	topNode = iota
	topPeers
	topWork
	topGuests
	topViews
)

// What comes from the node, besides its own types.
type (
	topAll struct {
		status   api.Status
		donation api.Donation
		peers    []api.Peer
		tasks    []api.Task
		jobs     []api.Job
	}
	topHeard time.Time               // it has said something
	topLost  struct{ reason string } // it does not answer
	topTick  time.Time               // a second has passed
)

// topModel is what 'spare top' knows and shows. It does nothing but through do,
// and knows no clock but what it is told.
type topModel struct {
	do            func(topOrder) tea.Msg
	now           time.Time
	width, height int

	known    bool // a snapshot has come
	status   api.Status
	donation api.Donation
	peers    map[string]api.Peer
	tasks    map[string]api.Task
	jobs     map[string]api.Job
	guests   api.Guests
	process  [2]client.Process // the one before and the last
	heard    time.Time
	lost     string // why the node does not answer; empty while it does

	view   int
	rows   [topViews][]topRow // as filtered
	chosen [topViews]string   // ID of the row that is chosen
	top    [topViews]int      // first row shown
	filter string
	typing bool // of the filter
	sheet  *topSheet
	asks   *topQuestion
	said   string // what has come of the last order
}

// topRow is a line of a list.
type topRow struct {
	id, kind string
	cells    []string
	ended    bool
	tells    func() string // more of it; nil: the node is asked
}

// topSheet is text that lies over the view.
type topSheet struct {
	title string
	lines []string
	x, y  int
}

// topQuestion waits for one of its keys; any other takes it back.
type topQuestion struct {
	text   string
	orders map[string]topOrder
}

func newTopModel(now time.Time, do func(topOrder) tea.Msg) *topModel {
	return &topModel{do: do, now: now, heard: now, peers: map[string]api.Peer{}, tasks: map[string]api.Task{}, jobs: map[string]api.Job{}}
}

// Init implements [tea.Model].
func (m *topModel) Init() tea.Cmd { return topSecond() }

func topSecond() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return topTick(t) })
}

// Update implements [tea.Model].
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch v := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = v.Width, v.Height
	case tea.KeyPressMsg:
		cmd = m.key(v)
	case topTick:
		m.now, cmd = time.Time(v), topSecond()
	case topHeard:
		m.heard, m.now, m.lost = time.Time(v), time.Time(v), ""
	case topLost:
		m.lost = v.reason
	case topAnswer:
		m.answer(v)
	default:
		m.learn(msg)
	}
	m.list()
	return m, cmd
}

// learn takes what the node tells.
func (m *topModel) learn(msg tea.Msg) {
	switch v := msg.(type) {
	case topAll:
		m.known, m.status, m.donation = true, v.status, v.donation
		clear(m.peers)
		clear(m.tasks)
		clear(m.jobs)
		for _, p := range v.peers {
			m.peers[p.Peer] = p
		}
		for _, t := range v.tasks {
			m.tasks[t.ID] = t
		}
		for _, j := range v.jobs {
			m.jobs[j.ID] = j
		}
	case api.Status:
		m.status = v
	case api.Donation:
		m.donation = v
	case api.PeerChanges:
		for _, p := range v.Changed {
			m.peers[p.Peer] = p
		}
		for _, id := range v.Gone {
			delete(m.peers, id)
		}
	case api.Task:
		m.tasks[v.ID] = v
		forget(m.tasks, topTasks, func(t api.Task) api.Time { return t.Submitted })
	case api.Job:
		m.jobs[v.ID] = v
		forget(m.jobs, topJobs, func(j api.Job) api.Time { return j.Submitted })
	case api.Guests:
		m.guests = v
	case client.Process:
		m.process[0], m.process[1] = m.process[1], v
	}
}

// forget drops the oldest when there are a tenth more than most.
func forget[T any](all map[string]T, most int, of func(T) api.Time) {
	if len(all) <= most+most/10 {
		return
	}
	ids := make([]string, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return time.Time(of(all[b])).Compare(time.Time(of(all[a]))) })
	for _, id := range ids[most:] {
		delete(all, id)
	}
}

// answer shows what has come of an order.
func (m *topModel) answer(a topAnswer) {
	switch {
	case a.err != nil:
		m.said = fmt.Sprintf("%s: %s", protocol.CodeOf(a.err), a.err.Error())
	case a.order.verb == "tell":
		m.sheet = &topSheet{title: a.order.kind + " " + a.order.id, lines: linesOf(a.text)}
	case a.order.verb == "cancel":
		m.said = "cancelled " + a.order.kind + " " + a.order.id
	case a.order.verb == "resume":
		m.said = "resumed"
	default:
		m.said = "paused"
	}
}

// key follows a key.
func (m *topModel) key(k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	if key == "ctrl+c" {
		return tea.Quit
	}
	m.said = ""
	switch {
	case m.typing:
		m.typeFilter(key, k.Text)
	case m.asks != nil:
		order, yes := m.asks.orders[key]
		if m.asks = nil; yes {
			return m.order(order)
		}
	case m.sheet != nil:
		return m.sheetKey(key)
	default:
		return m.viewKey(key)
	}
	return nil
}

func (m *topModel) order(o topOrder) tea.Cmd { return func() tea.Msg { return m.do(o) } }

func (m *topModel) typeFilter(key, text string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		if len(m.filter) < 64 {
			m.filter += protocol.SafeText(text)
		}
	}
}

func (m *topModel) sheetKey(key string) tea.Cmd {
	s, page := m.sheet, max(1, m.bodyHeight()-1)
	switch key {
	case "q", "esc", "enter", "?":
		m.sheet = nil
		return nil
	case "up", "k":
		s.y--
	case "down", "j":
		s.y++
	case "pgup", "b":
		s.y -= page
	case "pgdown", "space":
		s.y += page
	case "home", "g":
		s.y = 0
	case "end", "G":
		s.y = len(s.lines)
	case "left", "h":
		s.x -= 8
	case "right", "l":
		s.x += 8
	}
	s.y = max(0, min(s.y, len(s.lines)-page))
	s.x = max(0, min(s.x, 400))
	return nil
}

func (m *topModel) viewKey(key string) tea.Cmd {
	page := max(1, m.bodyHeight()-2)
	switch key {
	case "q":
		return tea.Quit
	case "tab", "right", "l":
		m.view = (m.view + 1) % topViews
	case "shift+tab", "left", "h":
		m.view = (m.view + topViews - 1) % topViews
	case "1", "2", "3", "4":
		m.view = int(key[0] - '1')
	case "up", "k":
		m.choose(-1)
	case "down", "j":
		m.choose(1)
	case "pgup", "b":
		m.choose(-page)
	case "pgdown", "space":
		m.choose(page)
	case "home", "g":
		m.choose(-len(m.rows[m.view]))
	case "end", "G":
		m.choose(len(m.rows[m.view]))
	case "esc":
		m.filter = ""
	case "/":
		m.typing = true
	case "?":
		m.sheet = &topSheet{title: "keys", lines: linesOf(topHelp)}
	case "enter":
		return m.tell()
	case "p":
		m.asks = &topQuestion{"pause:  1 an hour  8 eight hours  p until resumed  f so, but what runs may end", map[string]topOrder{
			"1": {verb: "pause", kind: "node", long: time.Hour},
			"8": {verb: "pause", kind: "node", long: 8 * time.Hour},
			"p": {verb: "pause", kind: "node"},
			"f": {verb: "finish", kind: "node"},
		}}
	case "r":
		return m.order(topOrder{verb: "resume", kind: "node"})
	case "c":
		m.askCancel()
	}
	return nil
}

// askCancel asks whether what is chosen is to be cancelled.
func (m *topModel) askCancel() {
	row, ok := m.current()
	switch {
	case m.view != topWork:
		m.said = "tasks and jobs can be cancelled, in view 3"
	case !ok:
		m.said = "there is nothing to cancel"
	case row.ended:
		m.said = fmt.Sprintf("%s %s has ended already", row.kind, row.id)
	default:
		m.asks = &topQuestion{fmt.Sprintf("cancel %s %s?  y yes   n no", row.kind, row.id), map[string]topOrder{
			"y": {verb: "cancel", kind: row.kind, id: row.id},
		}}
	}
}

// tell shows more of what is chosen.
func (m *topModel) tell() tea.Cmd {
	row, ok := m.current()
	switch {
	case !ok:
		return nil
	case m.view == topNode:
		m.sheet = &topSheet{title: "why, and by which rules", lines: linesOf(m.tellNode())}
		return nil
	case row.tells != nil:
		m.sheet = &topSheet{title: row.kind + " " + row.cells[0], lines: linesOf(row.tells())}
		return nil
	default:
		return m.order(topOrder{verb: "tell", kind: row.kind, id: row.id})
	}
}

// current is the row that is chosen.
func (m *topModel) current() (topRow, bool) {
	if i := m.at(); i >= 0 {
		return m.rows[m.view][i], true
	}
	return topRow{}, false
}

// at is where the chosen row is: the first when it has gone, -1 without any.
func (m *topModel) at() int {
	rows := m.rows[m.view]
	i := slices.IndexFunc(rows, func(r topRow) bool { return r.id == m.chosen[m.view] })
	if i < 0 && len(rows) > 0 {
		return 0
	}
	return i
}

func (m *topModel) choose(by int) {
	rows := m.rows[m.view]
	if m.view == topNode { // which is read, not chosen from
		m.top[topNode] = max(0, m.top[topNode]+by)
		return
	}
	if len(rows) > 0 {
		m.chosen[m.view] = rows[max(0, min(m.at()+by, len(rows)-1))].id
	}
}

// list makes the rows of the view anew, and keeps the chosen one in sight.
func (m *topModel) list() {
	var all []topRow
	switch m.view {
	case topNode:
		all = m.nodeRows()
	case topPeers:
		all = m.peerRows()
	case topWork:
		all = m.workRows()
	case topGuests:
		all = m.guestRows()
	}
	filter := strings.ToLower(m.filter)
	rows := all[:0]
	for _, r := range all {
		if filter == "" || strings.Contains(strings.ToLower(strings.Join(r.cells, " ")), filter) {
			rows = append(rows, r)
		}
	}
	m.rows[m.view] = rows
	height, top := max(1, m.bodyHeight()-1), &m.top[m.view]
	if m.view == topNode {
		height = max(1, m.bodyHeight())
	} else if i := m.at(); i >= 0 {
		*top = max(min(*top, i), i-height+1)
	}
	*top = max(0, min(*top, len(rows)-height))
}
