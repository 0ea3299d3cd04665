package main

import (
	"cmp"
	"context"
	"fmt"
	goversion "go/version"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

const (
	// Below these much room results and modules may find none, in bytes.
	fewRoom = 2 << 30
	noRoom  = 256 << 20
	// buildsWithin bounds how long a compiler may take for an empty program.
	buildsWithin = 30 * time.Second
	// lately is how long a refusal counts.
	lately = 10 * time.Minute
)

// home adds whether the home is there and is its owner's alone.
func (e *examination) home(dir string) {
	info, err := os.Stat(dir)
	if err != nil {
		e.add("home", ok, "", "%s, which 'spare up' makes", dir)
		return
	}
	if err := writable(dir); err != nil {
		e.add("home", bad, fmt.Sprintf("see to it that you may write to %s, or choose another home with --home or SPARE_HOME", dir), "%v", err)
		return
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o007 != 0 {
		e.add("home", warn, "chmod o= "+dir, "%s has mode %04o: every user of this machine may look into it", dir, mode)
		return
	}
	secrets, _ := filepath.Glob(filepath.Join(dir, "networks", "*.secret")) // the pattern is one
	for _, file := range append(secrets, filepath.Join(dir, "identity.key")) {
		if mode, open := othersMayRead(file); open {
			e.add("home", bad, "chmod 600 "+file, "%s has mode %04o, and whoever can read it can be this node, or a member", file, mode)
			return
		}
	}
	e.add("home", ok, "", "%s", dir)
}

// writable tries to write to a directory.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

// disk adds how much room there is for the home.
func (e *examination) disk(dir string) {
	for dir != filepath.Dir(dir) && !isDir(dir) {
		dir = filepath.Dir(dir) // it is not there yet
	}
	free, all, err := diskRoom(dir)
	g, do := ok, ""
	switch {
	case err != nil:
		e.add("disk", note, "", "how much room there is cannot be told: %v", err)
		return
	case free < noRoom:
		g, do = bad, "make room: 'spare prune --all' deletes what has ended, 'spare donate set --disk SIZE' bounds the rest"
	case free < fewRoom:
		g, do = warn, "'spare prune --older-than 24h' deletes what has ended, 'spare donate set --disk SIZE' bounds the rest"
	}
	e.add("disk", g, do, "%s free of %s where the home is", protocol.SizeText(free), protocol.SizeText(all))
}

// config adds what config.toml says.
func (e *examination) config(cfg node.Config) {
	if _, err := os.Stat(filepath.Join(cfg.Home, configName)); err != nil {
		e.add("config.toml", ok, "", "there is none, and need not be")
		return
	}
	e.add("config.toml", ok, "", "valid; 'spare config show --origin' tells what holds")
}

// node adds whether the node answers, and all that it tells. It returns its client
// when it does.
func (e *examination) node(ctx context.Context, h home, dir string) *client.Client {
	if dir == "" {
		return nil
	}
	c, err := h.node()
	if err != nil {
		e.fault("node", bad, err)
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	s, err := c.Status(ask)
	switch {
	case err == nil:
	case ask.Err() != nil && ctx.Err() == nil:
		e.add("node", bad, "end it and start it again with 'spare up'", "there is one, which has not answered within %s", answersWithin)
		return nil
	case protocol.CodeOf(err) == protocol.CodeNoNode:
		e.clock(nil)
		if _, absent := os.Stat(filepath.Join(dir, "api.sock")); absent == nil {
			e.fault("node", warn, err)
		} else {
			e.add("node", note, "'spare up' starts one", "none runs here: its peers and what it donates are not looked at")
		}
		return nil
	default:
		e.fault("node", bad, err)
		return nil
	}
	e.Running = true
	e.clock(s.ClockAheadS)
	if s.Version == versionText() {
		e.add("node", ok, "", "it answers, version %s, up %s, PID %d", s.Version, span(time.Since(time.Time(s.Started))), s.PID)
	} else {
		e.add("node", warn, "end it and start it again, for one version", "it answers, and is of version %s while this command is of %s", s.Version, versionText())
	}
	peers, err := c.Peers(ask)
	if err != nil {
		e.fault("peers", bad, err)
		return c
	}
	e.listens(&s, peers)
	e.peers(&s, peers)
	e.donates(&s)
	return c
}

// clock adds whether the time is right, as far as that can be told.
func (e *examination) clock(ahead *int64) {
	const do = "set the clock, and keep it right by NTP: 'timedatectl set-ntp true'"
	now := time.Now()
	if made := builtAt(); now.Before(made) {
		e.add("clock", bad, do, "it is %s here, before this program was made", now.UTC().Format(time.DateTime))
		return
	}
	switch {
	case ahead == nil:
		e.add("clock", ok, "", "%s; no peers to compare it with", now.UTC().Format("2006-01-02 15:04 MST"))
	case *ahead == 0:
		e.add("clock", ok, "", "as its peers'")
	case *ahead > 0:
		e.add("clock", warn, do, "%s ahead of most peers'", time.Duration(*ahead)*time.Second)
	default:
		e.add("clock", warn, do, "%s behind most peers'", time.Duration(-*ahead)*time.Second)
	}
}

// builtAt is when the commit was made that this was built from, or zero.
func builtAt() time.Time {
	if info, known := debug.ReadBuildInfo(); known {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

// scope is from where an address can be reached.
type scope int

const (
	fromHere  scope = iota // programs on this machine
	fromNear               // the local network
	fromWorld              // everybody whom no firewall keeps away
)

// scopeOf is that of an address, which is everywhere when it is a name.
func scopeOf(addr string) scope {
	a, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return fromHere
	}
	ip, err := manet.ToIP(a)
	switch {
	case err != nil:
		return fromWorld
	case ip.IsLoopback():
		return fromHere
	case ip.IsPrivate() || ip.IsLinkLocalUnicast():
		return fromNear
	}
	return fromWorld
}

// reachability says from where others can reach this node, as far as is known, and
// what would have more of them do so.
func reachability(s *api.Status, peers []api.Peer) (found, do string) {
	most := fromHere
	for _, a := range s.Addrs {
		most = max(most, scopeOf(a))
	}
	came := 0
	for _, p := range peers {
		if p.Inbound && p.Connected {
			came++
		}
	}
	var by string
	switch {
	case came == 1:
		by = "; one peer has connected to it"
	case came > 1:
		by = fmt.Sprintf("; %d peers have connected to it", came)
	}
	switch most {
	case fromHere:
		return "only from this machine" + by, "'spare up --listen /ip4/0.0.0.0/tcp/PORT --listen /ip4/0.0.0.0/udp/PORT/quic-v1' listens for others, too"
	case fromNear:
		return "from its local network" + by, "to be reached from elsewhere, forward its port, and say so with 'spare up --announce'"
	}
	if came == 0 {
		return "from everywhere, by its addresses; nobody has connected to it yet", "if none ever does, open its port in the firewall, TCP and UDP"
	}
	return "from everywhere, by its addresses" + by, ""
}

func (e *examination) listens(s *api.Status, peers []api.Peer) {
	found, do := reachability(s, peers)
	g := ok
	if do != "" {
		g = note
	}
	e.add("reachable", g, do, "%s", found)
}

func (e *examination) peers(s *api.Status, peers []api.Peer) {
	for _, r := range s.Refused {
		if time.Since(time.Time(r.At)) > lately {
			continue
		}
		do := "'spare status' on both tells their networks"
		if r.Code == string(protocol.CodeNetwork) {
			do = fmt.Sprintf("copy networks/%s.secret from a member's home to this one's, and start the node again", s.Network)
		}
		e.add("peers", warn, do, "%s and this node part: %s: %s", shortPeer(r.Peer), r.Code, r.Message)
		break // the latest says it
	}
	switch {
	case s.PeersConnected == 0 && len(peers) > 0:
		e.add("peers", warn, "see whether they run, and whether this machine is on its network", "none of %d known is connected", len(peers))
	case s.PeersConnected == 0:
		e.add("peers", warn, "'spare up --bootstrap ADDRESS' joins a member, by an address that its 'spare status' tells", "none is known: tasks run on this node alone")
	case s.PeersKnown == 0:
		e.add("peers", warn, "'spare offers' on them tells why", "%d connected, and none offers anything", s.PeersConnected)
	default:
		e.add("peers", ok, "", "%d connected, %d with an offer; 'spare netcheck' measures them", s.PeersConnected, s.PeersKnown)
	}
}

func (e *examination) donates(s *api.Status) {
	g, do := ok, ""
	if s.Donate.State == protocol.Paused.Word() {
		g, do = note, "'spare resume' takes a pause back, 'spare donate show' tells the rules"
	}
	e.add("donates", g, do, "%s; %d of %d slots in use", takesTasks(s.Donate), s.Running, s.Slots)
}

// toolchains adds what builds and runs programs that are no modules.
func (e *examination) toolchains(ctx context.Context, h home) {
	ctx, cancel := context.WithTimeout(ctx, buildsWithin)
	defer cancel()
	kinds := []struct {
		what, can string
		found     func() error
	}{
		{"run main.go", "it is built here", func() error { return goBuilds(ctx) }},
		{"run main.c", "it is built here", func() error { return fileBuilds(ctx, ".c", clang) }},
		{"run main.cpp", "it is built here", func() error { return fileBuilds(ctx, ".cpp", clang) }},
		{"run main.rs", "it is built here", func() error { return fileBuilds(ctx, ".rs", rustc) }},
		{"run main.py", "there is a runtime for it", func() error {
			if i, err := interpreterFor(h, ".py"); err != nil || i != nil {
				return err
			}
			return noInterpreter("main.py", ".py")
		}},
	}
	errs := make([]error, len(kinds))
	var all sync.WaitGroup
	for i, k := range kinds {
		all.Go(func() { errs[i] = k.found() })
	}
	all.Wait()
	for i, k := range kinds {
		if errs[i] == nil {
			e.add(k.what, ok, "", "%s", k.can)
		} else {
			e.fault(k.what, note, errs[i])
		}
	}
}

func goBuilds(ctx context.Context) error {
	if _, err := exec.LookPath("go"); err != nil {
		return noGoCommand("main.go", "it is not there")
	}
	said, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if is := strings.TrimSpace(string(said)); err != nil || goversion.Compare(is, "go1.21") < 0 {
		return noGoCommand("main.go", "it is "+cmp.Or(is, "broken"))
	}
	return nil
}

// fileBuilds tries the compiler of an ending.
func fileBuilds(ctx context.Context, ending string, find func(path, ending string) ([]string, string, error)) error {
	words, probe, err := find("main"+ending, ending)
	if err != nil {
		return err
	}
	if !builds(ctx, words, "probe"+ending, probe) {
		return noToolchain("main"+ending, ending, words[0]+" cannot build even an empty program")
	}
	return nil
}
