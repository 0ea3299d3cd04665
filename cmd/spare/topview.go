package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/spare-network/spare/protocol"
)

const (
	topLabel = 19 // width of what lines of the node are called
	// topStale is how old the news may be before that is said; the node beats
	// every 10 s.
	topStale = 15 * time.Second

	topHelp = `tab, right      the next view           shift+tab, left   the one before
1 2 3 4         a view by its number
up, down, j k   another line            pgup, pgdown      a page
home, end       the first, the last
enter           tell more of the line: of a task, why it is where it is
/               show only lines with some text; esc shows all again
p               pause for others; asks for how long
r               resume
c               cancel the task or job; asks first
?               this help
q, ctrl+c       quit; the node goes on

In what is told: arrows scroll, also to the sides, and q or esc closes it.`
)

// View implements [tea.Model].
func (m *topModel) View() tea.View {
	v := tea.NewView(strings.Join(m.screen(), "\n"))
	v.AltScreen = true
	return v
}

// bodyHeight is how many lines there are for a view: all but four.
func (m *topModel) bodyHeight() int { return max(0, m.height-4) }

// screen is what is shown, in exactly as many lines as there are.
func (m *topModel) screen() []string {
	if m.width < 20 || m.height < 6 {
		return []string{fit("too small", m.width)}
	}
	lines := []string{m.headLine(), m.tabLine()}
	if m.sheet != nil {
		lines = append(lines, m.sheetLines()...)
	} else {
		lines = append(lines, m.bodyLines()...)
	}
	for len(lines) < m.height-2 {
		lines = append(lines, "")
	}
	return append(lines, m.sayLine(), m.keyLine())
}

// fit makes text of whoever just so wide, without what could move the cursor.
func fit(text string, width int) string {
	text = ansi.Truncate(protocol.SafeText(text), max(width, 0), "…")
	return text + strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
}

// Colours say nothing that words do not: there may be none.
func coloured(c string, text string) string {
	return lipgloss.NewStyle().Foreground(lipgloss.Color(c)).Render(text)
}

const (
	green  = "2"
	yellow = "3"
	red    = "1"
)

func bold(text string) string     { return lipgloss.NewStyle().Bold(true).Render(text) }
func faint(text string) string    { return lipgloss.NewStyle().Faint(true).Render(text) }
func reversed(text string) string { return lipgloss.NewStyle().Reverse(true).Render(text) }

// headLine names the node, says its state, and how fresh all this is.
func (m *topModel) headLine() string {
	fresh, colour := "live", green
	age := m.now.Sub(m.heard)
	switch {
	case m.lost != "":
		fresh, colour = "STALE "+span(age), red
	case !m.known:
		fresh, colour = "asking", yellow
	case age >= topStale:
		fresh, colour = "no news "+span(age), yellow
	}
	who := "spare top"
	if m.known {
		who = fmt.Sprintf("spare top  %s  %s  %s", m.status.Network, shortPeer(m.status.Peer), m.status.Donate.State)
	}
	return bold(fit(who, m.width-len(fresh)-1)) + " " + coloured(colour, fresh)
}

func (m *topModel) tabLine() string {
	names := []string{
		"1 Node", fmt.Sprintf("2 Peers %d", len(m.peers)),
		fmt.Sprintf("3 Work %d", len(m.tasks)+len(m.jobs)), fmt.Sprintf("4 Guests %d", len(m.guests.Now)),
	}
	need := 0
	for _, name := range names {
		need += len(name) + 2
	}
	var b strings.Builder
	for i, name := range names {
		if need > m.width && i != m.view { // where there is no room numbers must do
			name = name[:1]
		}
		name = " " + name + " "
		if i == m.view {
			name = reversed(name)
		}
		b.WriteString(name)
	}
	return ansi.Truncate(b.String(), m.width, "")
}

// sayLine is for what is asked, typed or said.
func (m *topModel) sayLine() string {
	switch {
	case m.asks != nil:
		return coloured(yellow, fit(m.asks.text, m.width))
	case m.typing:
		return fit("filter: "+m.filter+"_", m.width)
	case m.lost != "":
		return coloured(red, fit("the node does not answer, it is looked for again: "+m.lost, m.width))
	case m.said != "":
		return fit(m.said, m.width)
	case m.filter != "":
		return fit(fmt.Sprintf("only lines with %q; esc shows all", m.filter), m.width)
	}
	return ""
}

func (m *topModel) keyLine() string {
	text := "q quit  tab view  enter more  p pause  r resume  c cancel  / filter  ? help"
	if m.sheet != nil {
		text = "q back  arrows scroll"
	}
	return faint(fit(text, m.width))
}

func (m *topModel) sheetLines() []string {
	height := m.bodyHeight()
	lines := []string{bold(fit(m.sheet.title, m.width))}
	for _, line := range m.sheet.lines[min(m.sheet.y, len(m.sheet.lines)):] {
		if len(lines) == height {
			break
		}
		lines = append(lines, fit(ansi.Cut(protocol.SafeText(line), m.sheet.x, m.sheet.x+m.width+1), m.width))
	}
	return lines
}

func (m *topModel) bodyLines() []string {
	rows := m.rows[m.view]
	if len(rows) == 0 {
		return []string{"", fit("  "+m.empty(), m.width)}
	}
	if m.view == topNode {
		return m.nodeLines(rows)
	}
	columns := [topViews][]topColumn{topPeers: topPeerColumns, topWork: topWorkColumns, topGuests: topGuestColumns}[m.view]
	which := columnsFor(columns, m.width)
	head := make([]string, len(columns))
	for i, c := range columns {
		head[i] = c.title
	}
	lines := []string{bold(fit(lineOf(which, head), m.width))}
	at := m.at()
	for i := m.top[m.view]; i < len(rows) && len(lines) < m.bodyHeight(); i++ {
		line := fit(lineOf(which, rows[i].cells), m.width)
		switch {
		case i == at:
			line = reversed(line)
		case rows[i].ended:
			line = faint(line)
		}
		lines = append(lines, line)
	}
	return lines
}

func (m *topModel) nodeLines(rows []topRow) (lines []string) {
	for _, r := range rows[m.top[topNode]:] {
		if len(lines) == m.bodyHeight() {
			break
		}
		lines = append(lines, faint(fit(r.cells[0], topLabel))+" "+fit(r.cells[1], m.width-topLabel-1))
	}
	return lines
}

// empty says why a view has no lines.
func (m *topModel) empty() string {
	switch {
	case !m.known:
		return "asking the node"
	case m.filter != "":
		return fmt.Sprintf("no line has %q", m.filter)
	case m.view == topPeers:
		return "no peers yet: 'spare up --bootstrap ADDRESS' joins a network"
	case m.view == topGuests:
		return "nothing of others runs here, or has lately; view 1 says why"
	default:
		return "no tasks yet: 'spare run PROGRAM' runs one"
	}
}

// shownColumn is a column that has room.
type shownColumn struct{ at, width int }

// columnsFor chooses those that have room, and gives what is left to those that grow.
func columnsFor(all []topColumn, width int) []shownColumn {
	have := make([]bool, len(all))
	for i := range have {
		have[i] = true
	}
	needs := func() (sum, grow int) {
		for i, c := range all {
			if have[i] {
				sum += c.width + 1
				grow += b2i(c.grows)
			}
		}
		return sum - 1, grow
	}
	sum, grow := needs()
	for sum > width {
		worst := -1
		for i, c := range all {
			if have[i] && c.rank > 0 && (worst < 0 || c.rank >= all[worst].rank) {
				worst = i
			}
		}
		if worst < 0 {
			break
		}
		have[worst] = false
		sum, grow = needs()
	}
	var list []shownColumn
	left := max(0, width-sum)
	for i, c := range all {
		if !have[i] {
			continue
		}
		if c.grows {
			c.width += left / grow
			left -= left / grow
			grow--
		}
		list = append(list, shownColumn{i, c.width})
	}
	return slices.Clip(list)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lineOf is a row in its columns.
func lineOf(which []shownColumn, cells []string) string {
	parts := make([]string, len(which))
	for i, c := range which {
		text := cells[c.at]
		if text == "" {
			text = "-"
		}
		parts[i] = fit(text, c.width)
	}
	return strings.Join(parts, " ")
}
