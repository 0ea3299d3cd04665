package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// crowd is a node with a thousand peers, ten thousand tasks and a job of as many.
// What the API does not ask of it is left out.
type crowd struct {
	Node
	Owner
	peers []Peer
	tasks []*protocol.Task // oldest first
	byID  map[string]*protocol.Task

	mu   sync.Mutex
	note func(protocol.TaskID)
}

// What is not asked for of tasks and jobs.
type (
	restOfTasks interface{ Tasks }
	restOfJobs  interface{ Jobs }
)

type crowdTasks struct {
	restOfTasks
	*crowd
}

type crowdJobs struct {
	restOfJobs
	*crowd
}

const (
	manyPeers = 1000
	manyTasks = 10_000
)

func newCrowd(t testing.TB) *crowd {
	t.Helper()
	c := &crowd{byID: map[string]*protocol.Task{}}
	for i := range manyPeers {
		rtt, age := float64(i%200), int64(i%60_000)
		c.peers = append(c.peers, Peer{
			Peer: fmt.Sprintf("12D3KooW%044d", i), Connected: true, RTTMS: &rtt, Slots: 4, Speed: 1, OfferAgeMS: &age, Version: "v1", Arch: "linux/amd64",
			Addrs: []string{"/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1"}, Trust: "new: 3 of 10 checks passed", Trusted: true,
		})
	}
	spec := &protocol.Spec{
		Module: protocol.NewBlob([]byte("a module")), Args: []string{"prog"}, Stdin: protocol.NewBlob(nil),
		Limits: protocol.DefaultLimits(), Profile: protocol.Profile,
	}
	raw, err := spec.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for range manyTasks {
		one := &protocol.Task{Id: string(protocol.NewTaskID()), Spec: raw, Terms: &protocol.Terms{Replicas: 1}, State: protocol.StateRunning}
		c.tasks, c.byID[one.Id] = append(c.tasks, one), one
	}
	return c
}

func (c *crowd) Status() Status     { return Status{Peer: "12D3KooWself"} }
func (c *crowd) Figures() Figures   { return Figures{} }
func (c *crowd) Donation() Donation { return Donation{} }
func (c *crowd) Peers() []Peer      { return slices.Clone(c.peers) }
func (c *crowd) Offers() []Offer {
	list := make([]Offer, len(c.peers))
	for i := range list {
		list[i].Provider = c.peers[i].Peer
	}
	return list
}

func (c crowdTasks) Watch(note func(protocol.TaskID)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note = note
	return func() {}
}

func (c crowdTasks) Task(id string) (*protocol.Task, error) {
	if t := c.byID[id]; t != nil {
		return t, nil
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "there is no %s", id)
}

func (c crowdTasks) Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error) {
	list := slices.Clone(c.tasks)
	slices.Reverse(list)
	if before != "" {
		list = list[1+slices.IndexFunc(list, func(t *protocol.Task) bool { return t.Id == string(before) }):]
	}
	return list[:min(limit, len(list))], nil
}

func (c crowdJobs) Watch(func(protocol.TaskID)) func() { return func() {} }

func (c crowdJobs) Job(string) (*protocol.Job, error) {
	return &protocol.Job{Id: "aaaaaaaaaa", Tasks: manyTasks, State: protocol.StateRunning}, nil
}

func (c crowdJobs) Cells(_ string, from uint64, most int) ([]byte, uint64, error) {
	return []byte(strings.Repeat("r", min(most, manyTasks-int(from)+1))), manyTasks, nil
}

// serveCrowd serves a crowd until the test ends.
func serveCrowd(t testing.TB) (*crowd, *Server, *httptest.Server) {
	t.Helper()
	c := newCrowd(t)
	s := &Server{
		cfg:  Config{Tasks: crowdTasks{crowd: c}, Jobs: crowdJobs{crowd: c}, Node: c, Owner: c, Logger: slog.New(slog.DiscardHandler)},
		self: func() string { return "" },
	}
	s.metrics = http.NotFoundHandler()
	s.feed = newFeed(s.glance(), s.cfg.Logger)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.feed.run(ctx); err != nil {
			t.Error(err)
		}
	}()
	web := httptest.NewServer(s.socketRoutes())
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		cancel()
		<-ended
	})
	return c, s, web
}

func fetch(t testing.TB, url string, into any) http.Header {
	t.Helper()
	res, err := http.Get(url) //nolint:noctx // of this process
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return res.Header
}

// round reads all that there is once, while everything changes.
func (c *crowd) round(t testing.TB, base string) {
	var peers []Peer
	path := "/api/v1/peers?limit=300"
	for path != "" {
		var part []Peer
		link := fetch(t, base+path, &part).Get("Link")
		peers = append(peers, part...)
		path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
	}
	var offers []Offer
	fetch(t, base+"/api/v1/offers", &offers)
	tasks, next := 0, ""
	for first := true; first || next != ""; first = false {
		var page TaskPage
		fetch(t, base+"/api/v1/tasks?limit=1000&before="+next, &page)
		tasks, next = tasks+len(page.Tasks), page.Next
	}
	var cells JobCells
	fetch(t, base+"/api/v1/jobs/aaaaaaaaaa/cells", &cells)
	if len(peers) != manyPeers || len(offers) != manyPeers || tasks != manyTasks || len(cells.Cells) != manyTasks || cells.Of != manyTasks {
		t.Fatalf("%d peers, %d offers, %d tasks, %d cells", len(peers), len(offers), tasks, len(cells.Cells))
	}
	c.mu.Lock()
	note := c.note
	c.mu.Unlock()
	for _, task := range c.tasks {
		note(protocol.TaskID(task.Id))
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestManyPeersAndTasksNeedNoMoreMemoryWithTime shows that what is served is held
// for nobody: four rounds more need no more than two.
func TestManyPeersAndTasksNeedNoMoreMemoryWithTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	c, s, web := serveCrowd(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range 8 { // tabs
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+"/api/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body) // until it is cancelled
		})
	}
	defer http.DefaultClient.CloseIdleConnections()
	// What is kept of events fills first, and has its own bound.
	for range maxRing {
		s.feed.publish("task", Task{Name: strings.Repeat("x", maxKept/maxRing)})
	}
	for range 2 {
		c.round(t, web.URL)
	}
	before := heap()
	for range 4 {
		c.round(t, web.URL)
	}
	if after := heap(); after > before+before/4+4<<20 {
		t.Errorf("after 2 rounds %d KiB are in use, after 6 %d KiB", before>>10, after>>10)
	} else {
		t.Logf("after 2 rounds %d KiB are in use, after 6 %d KiB", before>>10, after>>10)
	}
}

// BenchmarkOpenStream is what a second of the feed costs: two looks at everything
// and one at a thousand peers.
func BenchmarkOpenStream(b *testing.B) {
	c := newCrowd(b)
	s := &Server{
		cfg:  Config{Tasks: crowdTasks{crowd: c}, Jobs: crowdJobs{crowd: c}, Node: c, Owner: c, Logger: slog.New(slog.DiscardHandler)},
		self: func() string { return "" },
	}
	f := newFeed(s.glance(), s.cfg.Logger)
	f.was, f.peers = map[string][]byte{}, map[string]sighting{}
	f.told = time.Now()
	f.lookAtPeers()
	for b.Loop() {
		f.changes()
		f.changes()
		f.lookAtPeers()
	}
}
