package api_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api/apitest"
)

// eventsOf opens the stream of events and returns what reads the next one that is
// no comment, as its lines.
func eventsOf(t *testing.T, client *http.Client, req *http.Request) (next func() []string) {
	t.Helper()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	in := bufio.NewScanner(res.Body)
	return func() (list []string) {
		t.Helper()
		for in.Scan() {
			switch line := in.Text(); {
			case line == "" && len(list) > 0:
				return list
			case line != "" && line != ":":
				list = append(list, line)
			}
		}
		t.Fatalf("the stream ends: %v", in.Err())
		return nil
	}
}

// until returns the first event of a kind whose data have a part. Others may come
// before it: the status is told now and then, changed or not.
func until(next func() []string, kind, part string) []string {
	for {
		if e := next(); e[1] == "event: "+kind && strings.Contains(e[2], part) {
			return e
		}
	}
}

func TestEventsOfTheSocket(t *testing.T) {
	_, c := serve(t)
	req := func(last string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://spare/api/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		return req
	}
	next := eventsOf(t, c.http, req(""))
	hello := next()
	if hello[1] != "event: hello" || !strings.HasPrefix(hello[2], `data: {"boot":"`) {
		t.Fatalf("%q", hello)
	}
	c.json("POST", "/api/v1/tasks", submission("exit 7"), &map[string]any{})
	task := until(next, "task", `"id":"aaaaaaaaaa","name":"p.wasm","state":"done"`)
	c.do("POST", "/api/v1/donation/pause", "{}")
	until(next, "status", `"state":"paused"`)
	until(next, "donation", `"state":"paused"`)
	// Who comes back is greeted, and told what came after the event it has seen.
	id := strings.TrimPrefix(task[0], "id: ")
	again := eventsOf(t, c.http, req(id))
	if e := again(); e[0] != task[0] || e[1] != "event: hello" {
		t.Errorf("%q", e)
	}
	if e := again(); e[1] != "event: status" {
		t.Errorf("%q", e)
	}
	strange := eventsOf(t, c.http, req("other-1"))
	// It has no ID yet: who goes before it has asked anew would be taken for whole.
	if e := strange(); len(e) != 2 || e[0] != "event: hello" {
		t.Errorf("%q", e)
	}
	if e := strange(); e[1] != "event: reset" || e[2] != "data: {}" {
		t.Errorf("%q", e)
	}
	var open []func() []string
	for range 32 - 3 {
		open = append(open, eventsOf(t, c.http, req("")))
	}
	for _, next := range open {
		next()
	}
	res, err := c.http.Do(req(""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s %v", res.Status, res.Header)
	}
}

func TestEventsOfThePage(t *testing.T) {
	b := newBrowser(t)
	b.login()
	req := b.request("GET", "/api/v1/events", "")
	req.Header.Set("X-Spare", b.page)
	if e := eventsOf(t, b.http, req)(); e[1] != "event: hello" {
		t.Errorf("%q", e)
	}
	// A program has the token instead.
	req = b.request("GET", "/api/v1/events", "")
	req.Header.Set("Authorization", "Bearer "+apitest.Token)
	if e := eventsOf(t, http.DefaultClient, req)(); e[1] != "event: hello" {
		t.Errorf("%q", e)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestFiguresAreShown(t *testing.T) {
	_, c := serve(t)
	_, _, b := c.do("GET", "/metrics", "")
	for _, line := range []string{
		`spare_tasks_ended_total{end="passed"} 7`, `spare_tasks_ended_total{end="E-LOST"} 1`,
		`spare_leases_granted_total 11`, `spare_leases_refused_total{code="E-BUSY"} 3`, `spare_failovers_total 1`,
		`spare_guest_leases_granted_total 3`, `spare_guest_leases_refused_total{code="E-REFUSED"} 1`,
		`spare_gossip_received_total{verdict="accepted"} 9`, `spare_gossip_sent_total 4`, `spare_jobs_open 1`,
		`spare_rtt_seconds_bucket{le="0.001"} 2`, `spare_rtt_seconds_bucket{le="+Inf"} 6`, `spare_rtt_seconds_sum 3`,
		`spare_donation_state{state="open"} 1`, `spare_donation_state{state="paused"} 0`,
	} {
		if !strings.Contains(string(b), line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(string(b), "12D3") {
		t.Error("a label has a peer's ID: there may be any number of them")
	}
	if code, _, b := c.do("GET", "/debug/pprof/goroutine?debug=1", ""); code != http.StatusOK || !strings.Contains(string(b), "goroutine profile") {
		t.Errorf("profiles: %d", code)
	}
}

func TestArraysArePaged(t *testing.T) {
	_, c := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://spare/api/v1/offers?limit=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	want := `</api/v1/offers?after=` + apitest.Self + `&limit=1>; rel="next"`
	if got := res.Header.Get("Link"); got != want {
		t.Errorf("next is %s, want %s", got, want)
	}
	if _, _, b := c.do("GET", "/api/v1/offers?limit=1&after="+apitest.Self, ""); !strings.HasPrefix(string(b), `[{"provider":"`+apitest.Other) {
		t.Errorf("the second part is %s", b)
	}
	if _, _, b := c.do("GET", "/api/v1/offers?after="+apitest.Other, ""); string(b) != "[]\n" {
		t.Errorf("after the last comes %s", b)
	}
	for path, want := range map[string]int{"/peers?after=x": 404, "/offers?limit=0": 422, "/data?limit=1001": 422, "/data?after=x": 404} {
		if code, _, b := c.do("GET", "/api/v1"+path, ""); code != want {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
}
