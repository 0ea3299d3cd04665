package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Wire is a network of namespaces: one for each node, with one end of a veth
// pair, and a hub with the other ends, in two bridges. All of them are in the
// first bridge while the network is whole. A link that is cut belongs to
// neither, and the far side of a partition to the second: frames vanish, and no
// side sees its device change. Neighbours' addresses are fixed, so that nobody
// is told either that one does not answer.
type Wire struct {
	prefix string // of the names of the namespaces

	mu  sync.Mutex
	cut []bool
	far []bool
}

// ErrUnable is returned by [New] where there can be no such network.
var ErrUnable = errors.New("no network namespaces")

// New makes a network of so many nodes, at most 250, which are numbered from 0.
func New(ctx context.Context, nodes int) (*Wire, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: this is not root", ErrUnable)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w: there is no ip program (Debian: apt-get install iproute2)", ErrUnable)
	}
	w := &Wire{prefix: fmt.Sprintf("spare-%d-", os.Getpid()), cut: make([]bool, nodes), far: make([]bool, nodes)}
	if err := w.make(ctx, nodes); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnable, err), w.Close())
	}
	return w, nil
}

func (w *Wire) make(ctx context.Context, nodes int) error {
	spaces := []string{"netns add " + w.hub()}
	hub := []string{"link add near type bridge", "link add far type bridge", "link set near up", "link set far up"}
	for i := range nodes {
		spaces = append(spaces, "netns add "+w.space(i))
		hub = append(hub,
			fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", port(i), hardware(i), w.space(i)),
			fmt.Sprintf("link set %s master near up", port(i)))
	}
	if err := ip(ctx, "", spaces...); err != nil {
		return err
	}
	if err := ip(ctx, w.hub(), hub...); err != nil {
		return err
	}
	for i := range nodes {
		own := []string{"link set lo up", fmt.Sprintf("address add %s/24 dev eth0", Address(i)), "link set eth0 up"}
		for j := range nodes {
			if j != i {
				own = append(own, fmt.Sprintf("neighbour add %s lladdr %s nud permanent dev eth0", Address(j), hardware(j)))
			}
		}
		if err := ip(ctx, w.space(i), own...); err != nil {
			return err
		}
	}
	return nil
}

func (w *Wire) hub() string        { return w.prefix + "hub" }
func (w *Wire) space(i int) string { return fmt.Sprintf("%s%d", w.prefix, i+1) }

func port(i int) string     { return fmt.Sprintf("port%d", i+1) }
func hardware(i int) string { return fmt.Sprintf("02:00:0a:4d:00:%02x", i+1) }

// Address is the IPv4 address of node i.
func Address(i int) string { return fmt.Sprintf("10.77.0.%d", i+1) }

// Within is what begins the command line of a program of node i.
func (w *Wire) Within(i int) []string { return []string{"ip", "netns", "exec", w.space(i)} }

// Cut cuts the link of node i, or mends it.
func (w *Wire) Cut(i int, yes bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[i] = yes
	return w.join(i)
}

// Part puts nodes beyond a partition, or back.
func (w *Wire) Part(nodes []int, yes bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range nodes {
		w.far[i] = yes
	}
	return w.join(nodes...)
}

// join puts the links of nodes where they belong. It is called with mu held.
func (w *Wire) join(nodes ...int) error {
	var hub []string
	for _, i := range nodes {
		to := "master near"
		switch {
		case w.cut[i]:
			to = "nomaster"
		case w.far[i]:
			to = "master far"
		}
		hub = append(hub, fmt.Sprintf("link set %s %s", port(i), to))
	}
	return ip(context.Background(), w.hub(), hub...)
}

// Limit bounds what passes over the link of node i, each way, to so many bytes a
// second.
func (w *Wire) Limit(ctx context.Context, i, rate int) error {
	shape := fmt.Sprintf("root tbf rate %dbps burst 128kb latency 400ms", rate) // tc's bps are bytes
	var errs []error
	for space, device := range map[string]string{w.space(i): "eth0", w.hub(): port(i)} {
		args := append([]string{"-n", space, "qdisc", "replace", "dev", device}, strings.Fields(shape)...)
		if said, err := exec.CommandContext(ctx, "tc", args...).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("limit %s: %w: %s", device, err, bytes.TrimSpace(said)))
		}
	}
	return errors.Join(errs...)
}

// Sent is how many bytes node i has sent over its link.
func (w *Wire) Sent(ctx context.Context, i int) (uint64, error) {
	out, err := exec.CommandContext(ctx, "ip", "-n", w.space(i), "-j", "-s", "link", "show", "dev", "eth0").Output()
	if err != nil {
		return 0, fmt.Errorf("count what was sent: %w", err)
	}
	var links []struct {
		Stats struct {
			TX struct{ Bytes uint64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		return 0, fmt.Errorf("count what was sent: %d links: %w", len(links), err)
	}
	return links[0].Stats.TX.Bytes, nil
}

// Close removes the namespaces, and the links with them, once no process is
// left in them.
func (w *Wire) Close() error {
	var errs []error
	spaces := []string{w.hub()}
	for i := range w.cut {
		spaces = append(spaces, w.space(i))
	}
	for _, s := range spaces {
		if _, err := os.Stat("/run/netns/" + s); err == nil {
			errs = append(errs, ip(context.Background(), "", "netns delete "+s))
		}
	}
	return errors.Join(errs...)
}

// ip gives commands to the ip program, for a namespace if one is named.
func ip(ctx context.Context, space string, commands ...string) error {
	args := []string{"-batch", "-"}
	if space != "" {
		args = append([]string{"-n", space}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(said))
	}
	return nil
}
