package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller sends raw requests to the socket.
type caller struct {
	t    *testing.T
	http *http.Client
}

func newCaller(t *testing.T, home string) *caller {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(home, "api.sock"))
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &caller{t: t, http: &http.Client{Transport: tr}}
}

// do returns the answer's status, media type and body.
func (c *caller) do(method, path, body string) (int, string, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://spare"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), b
}

func (c *caller) json(method, path, body string, v any) int {
	c.t.Helper()
	code, _, b := c.do(method, path, body)
	if err := json.Unmarshal(b, v); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
	return code
}

func serve(t *testing.T) (*apitest.Node, *caller) {
	n, home := apitest.New(t.TempDir()), apitest.Home(t)
	apitest.Serve(t, n, home)
	return n, newCaller(t, home)
}

// submission returns the JSON of a small task.
func submission(instruction string) string {
	return fmt.Sprintf(`{"name":"p.wasm","module":{"data":%q}}`, base64.StdEncoding.EncodeToString(apitest.Module(instruction)))
}

func TestTaskJSONIsTheContract(t *testing.T) {
	_, c := serve(t)
	var submitted map[string]any
	if code := c.json("POST", "/api/v1/tasks", submission("exit 7"), &submitted); code != http.StatusCreated {
		t.Fatalf("status %d: %v", code, submitted)
	}
	_, _, got := c.do("GET", "/api/v1/tasks/aaa", "")
	empty := protocol.DigestOf(nil).String()
	want := `{"kind":"task","id":"aaaaaaaaaa","name":"p.wasm","state":"done","reason":"","exit_code":7,"exit_source":"guest",` +
		`"stdout_digest":"` + protocol.DigestOf([]byte("to stdout\n")).String() + `","stdout_bytes":10,"stderr_bytes":10,` +
		`"files":[],"wall_ms":40.125,"gas":1234567,"gas_limit":10000000000000,"error":null,"submitted":"2026-03-01T12:00:00.123Z","ended":"2026-03-01T12:00:00.165Z",` +
		`"module":"` + protocol.DigestOf(apitest.Module("exit 7")).CID() + `","args":["p.wasm"],"env":[],` +
		`"stdin_digest":"` + empty + `","stdin_bytes":0,` +
		`"inputs":[],"limits":{"memory_bytes":536870912,"output_bytes":67108864,"wall_ms":3600000,"gas":10000000000000,"file_bytes":268435456,"files":4096},"seed":0,` +
		`"terms":{"replicas":1,"where":"any"},"attempts":[` +
		`{"attempt":1,"provider":"` + apitest.Self + `","self":true,"state":"refused","reason":"least loaded; its slots filled up","rtt_ms":null,"started":null,"ended":"2026-03-01T12:00:00.124Z"},` +
		`{"attempt":2,"provider":"` + apitest.Other + `","self":false,"state":"done","reason":"nearest idle peer, \u001b[31m1.5 ms","rtt_ms":1.5,"started":"2026-03-01T12:00:00.125Z","ended":"2026-03-01T12:00:00.165Z"}]}` + "\n"
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRunningTaskHasNulls(t *testing.T) {
	_, c := serve(t)
	var v map[string]any
	code, _, body := c.do("POST", "/api/v1/tasks", submission("block"))
	if err := json.Unmarshal(body, &v); err != nil || code != http.StatusCreated {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	for _, key := range []string{"exit_code", "exit_source", "stdout_digest", "wall_ms", "error", "ended", "gas", "files"} {
		if got, ok := v[key]; !ok || got != nil {
			t.Errorf("%s is %v, want null", key, got)
		}
	}
	if !strings.Contains(string(body), `"state":"running","reason":"nearest idle peer, \u001b[31m1.5 ms","rtt_ms":1.5,"started":"2026-03-01T12:00:00.125Z","ended":null}`) {
		t.Errorf("running attempt in %s", body)
	}
	// A long poll answers when its time is over, and at the end of the task.
	if c.json("GET", "/api/v1/tasks/aaaaaaaaaa?wait=1ms", "", &v); v["state"] != "running" {
		t.Errorf("after 1 ms: %v", v["state"])
	}
	ended := make(chan any, 1)
	go func() {
		var v map[string]any
		c.json("GET", "/api/v1/tasks/aaaaaaaaaa?wait=10m", "", &v)
		ended <- v["state"]
	}()
	if code := c.json("POST", "/api/v1/tasks/aa/cancel", "", &v); code != http.StatusOK || v["state"] != "cancelled" {
		t.Errorf("cancel: %d %v", code, v["state"])
	}
	if got := <-ended; got != "cancelled" {
		t.Errorf("waited for %v", got)
	}
}

func TestFollowedSubmission(t *testing.T) {
	n, c := serve(t)
	code, kind, b := c.do("POST", "/api/v1/tasks?follow=true", submission("exit 7"))
	if code != http.StatusOK || kind != "application/jsonl" {
		t.Fatalf("%d %s: %s", code, kind, b)
	}
	var events []api.Event
	for line := range bytes.Lines(b) {
		var e api.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	last := len(events) - 1
	if events[0].ID != "aaaaaaaaaa" || events[last].Ended == nil || *events[last].Ended.ExitCode != 7 {
		t.Errorf("events %s", b)
	}
	var out [2][]byte
	for _, e := range events {
		out[0], out[1] = append(out[0], e.Stdout...), append(out[1], e.Stderr...)
	}
	if string(out[0]) != "to stdout\n" || string(out[1]) != "to stderr\n" {
		t.Errorf("output %q", out)
	}
	if _, _, again := c.do("GET", "/api/v1/tasks/a/follow", ""); !bytes.Equal(again, b) {
		t.Errorf("followed later: %s\nwant %s", again, b)
	}
	for path, want := range map[string]string{"stdout": "to stdout\n", "stderr": "to stderr\n"} {
		if _, kind, got := c.do("GET", "/api/v1/tasks/a/"+path, ""); string(got) != want || kind != "application/octet-stream" {
			t.Errorf("%s: %s %q", path, kind, got)
		}
	}
	if n.Puts() != 1 {
		t.Errorf("%d blobs stored, want the module alone", n.Puts())
	}
}

func TestTasksArePaged(t *testing.T) {
	_, c := serve(t)
	for range 5 {
		c.json("POST", "/api/v1/tasks", submission("cat"), &map[string]any{})
	}
	var ids []string
	next := ""
	for pages := 0; pages == 0 || next != ""; pages++ {
		var page api.TaskPage
		if code := c.json("GET", "/api/v1/tasks?limit=2&before="+next, "", &page); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		for _, task := range page.Tasks {
			ids = append(ids, task.ID[:1])
		}
		next = page.Next
	}
	if want := []string{"e", "d", "c", "b", "a"}; !slices.Equal(ids, want) {
		t.Errorf("paged through %v, want %v", ids, want)
	}
}

func TestBadRequestsAreProblems(t *testing.T) {
	n, c := serve(t)
	data := func(b []byte) string {
		return fmt.Sprintf(`{"data":%q}`, base64.StdEncoding.EncodeToString(b))
	}
	good := data(apitest.Module("cat"))
	half := base64.StdEncoding.EncodeToString(make([]byte, 600<<10))
	absent := protocol.DigestOf([]byte("absent")).String()
	const stranger = "12D3KooWRpUw97WW3yRTDw5dMbVnNrg82LsSfAsMW7NLMQvnKQUN"
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		code                     protocol.Code
	}{
		{"no such route", "GET", "/api/v1/nothing", "", 404, protocol.CodeNotFound},
		{"no such version", "GET", "/api/v9/status", "", 404, protocol.CodeNotFound},
		{"wrong method", "DELETE", "/api/v1/tasks/aaa", "", 405, protocol.CodeMethod},
		{"no such task", "GET", "/api/v1/tasks/zzz", "", 404, protocol.CodeNotFound},
		{"ID that is none", "GET", "/api/v1/tasks/A1", "", 404, protocol.CodeNotFound},
		{"ID too long", "GET", "/api/v1/tasks/aaaaaaaaaaaaa", "", 404, protocol.CodeNotFound},
		{"wait that is no time", "GET", "/api/v1/tasks/zzz?wait=soon", "", 400, protocol.CodeBadRequest},
		{"limit too large", "GET", "/api/v1/tasks?limit=1001", "", 422, protocol.CodeBadRequest},
		{"limit of none", "GET", "/api/v1/tasks?limit=-1", "", 422, protocol.CodeBadRequest},
		{"no JSON", "POST", "/api/v1/tasks", "{", 400, protocol.CodeBadRequest},
		{"no body", "POST", "/api/v1/tasks", "", 400, protocol.CodeBadRequest},
		{"no module", "POST", "/api/v1/tasks", `{}`, 422, protocol.CodeBadRequest},
		{"unknown field", "POST", "/api/v1/tasks", `{"module":` + good + `,"replica":2}`, 422, protocol.CodeBadRequest},
		{"empty module", "POST", "/api/v1/tasks", `{"module":{}}`, 400, protocol.CodeBadRequest},
		{"module twice", "POST", "/api/v1/tasks", `{"module":{"data":"AGFzbQEAAAA=","digest":"` + absent + `"}}`, 400, protocol.CodeBadRequest},
		{"module is text", "POST", "/api/v1/tasks", `{"module":` + data([]byte("#!/bin/sh\n")) + `}`, 422, protocol.CodeBadModule},
		{"module is a component", "POST", "/api/v1/tasks", `{"module":` + data([]byte("\x00asm\x0d\x00\x01\x00")) + `}`, 422, protocol.CodeBadModule},
		{"module cut off", "POST", "/api/v1/tasks", `{"module":` + data([]byte("\x00asm")) + `}`, 422, protocol.CodeBadModule},
		{"module is absent", "POST", "/api/v1/tasks", `{"module":{"digest":"` + absent + `"}}`, 409, protocol.CodeBlob},
		{"digest that is none", "POST", "/api/v1/tasks", `{"module":{"digest":"xyz"}}`, 400, protocol.CodeBadRequest},
		{"stdin is absent", "POST", "/api/v1/tasks", `{"module":` + good + `,"stdin":{"digest":"` + absent + `"}}`, 409, protocol.CodeBlob},
		{"env without value", "POST", "/api/v1/tasks", `{"module":` + good + `,"env":["A"]}`, 400, protocol.CodeBadRequest},
		{"NUL in args", "POST", "/api/v1/tasks", `{"module":` + good + `,"args":["a\u0000b"]}`, 400, protocol.CodeBadRequest},
		{"too much memory", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"memory_bytes":4294967297}}`, 400, protocol.CodeBadRequest},
		{"absurd memory", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"memory_bytes":18446744073709551615}}`, 400, protocol.CodeBadRequest},
		{"too much output", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"output_bytes":1073741825}}`, 400, protocol.CodeBadRequest},
		{"too long", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"wall_ms":604800001}}`, 400, protocol.CodeBadRequest},
		{"too many replicas", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"replicas":17}}`, 422, protocol.CodeBadRequest},
		{"nowhere", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"where":"moon"}}`, 422, protocol.CodeBadRequest},
		{"on an unknown peer", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"on":"12D3x"}}`, 404, protocol.CodeNotFound},
		{"on a whole ID that is unknown", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"on":"` + stranger + `"}}`, 404, protocol.CodeNotFound},
		{"on several peers", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"on":"12D3"}}`, 409, protocol.CodeAmbiguous},
		{"local and on", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"where":"local","on":"` + apitest.Other + `"}}`, 400, protocol.CodeBadRequest},
		{"replicas on one peer", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"replicas":2,"on":"` + apitest.Other + `"}}`, 400, protocol.CodeBadRequest},
		{"on a peer ID too long", "POST", "/api/v1/tasks", `{"module":` + good + `,"terms":{"on":"` + strings.Repeat("z", 129) + `"}}`, 404, protocol.CodeNotFound},
		{"too many args", "POST", "/api/v1/tasks", `{"module":` + good + `,"args":["a"` + strings.Repeat(`,"a"`, 4095) + `]}`, 400, protocol.CodeUsage},
		{"inline stdin too large", "POST", "/api/v1/tasks", `{"module":` + good + `,"stdin":` + data(make([]byte, 1<<20+1)) + `}`, 400, protocol.CodeBadRequest},
		{"too much gas", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"gas":1152921504606846977}}`, 400, protocol.CodeBadRequest},
		{"too many bytes in files", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"file_bytes":1073741825}}`, 400, protocol.CodeBadRequest},
		{"too many files", "POST", "/api/v1/tasks", `{"module":` + good + `,"limits":{"files":16385}}`, 400, protocol.CodeBadRequest},
		{"input without a path", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"data":""}]}`, 422, protocol.CodeBadRequest},
		{"input elsewhere", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/etc/passwd"}]}`, 400, protocol.CodeBadRequest},
		{"input that climbs", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/../a"}]}`, 400, protocol.CodeBadRequest},
		{"input twice", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a"},{"path":"/in/a"}]}`, 400, protocol.CodeBadRequest},
		{"input within another", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a"},{"path":"/in/a/b"}]}`, 400, protocol.CodeBadRequest},
		{"input by data and digest", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a","data":"YQ==","digest":"` + absent + `"}]}`, 400, protocol.CodeBadRequest},
		{"input is absent", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a","digest":"` + absent + `"}]}`, 409, protocol.CodeBlob},
		{"inputs beyond their limit", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a","data":"YWI="}],"limits":{"file_bytes":1}}`, 400, protocol.CodeBadRequest},
		{"inputs too large together", "POST", "/api/v1/tasks", `{"module":` + good + `,"inputs":[{"path":"/in/a","data":"` + half + `"},{"path":"/in/b","data":"` + half + `"}]}`, 400, protocol.CodeBadRequest},
		{"files of no task", "GET", "/api/v1/tasks/zzz/files", "", 404, protocol.CodeNotFound},
		{"a file of no task", "GET", "/api/v1/tasks/zzz/files/out/a", "", 404, protocol.CodeNotFound},
		{"missing what is no digest", "POST", "/api/v1/blobs/missing", `{"digests":["xyz"]}`, 400, protocol.CodeBadRequest},
		{"body too large", "POST", "/api/v1/tasks", `{"name":"` + strings.Repeat("x", 7<<20) + `"}`, 413, protocol.CodeBadRequest},
		{"tasks of a job from 0", "POST", "/api/v1/jobs/aaa/cancel?tasks=0-3", "", 400, protocol.CodeBadRequest},
		{"tasks of a job by words", "GET", "/api/v1/jobs/aaa/tasks?tasks=all", "", 400, protocol.CodeBadRequest},
		{"too many ranges of tasks", "GET", "/api/v1/jobs/aaa/follow?tasks=1" + strings.Repeat(",1", 1000), "", 400, protocol.CodeBadRequest},
		{"ranges of tasks too long", "POST", "/api/v1/jobs/aaa/rerun?tasks=" + strings.Repeat("1", 8193), "", 422, protocol.CodeBadRequest},
		{"too many tasks of a job at once", "GET", "/api/v1/jobs/aaa/tasks?limit=1001", "", 422, protocol.CodeBadRequest},
		{"tasks of no job", "GET", "/api/v1/jobs/aaa/tasks?tasks=1-3", "", 404, protocol.CodeNotFound},
		{"a task of no job", "GET", "/api/v1/tasks/aaa%2F7", "", 404, protocol.CodeNotFound},
		{"tasks as one", "GET", "/api/v1/tasks/aaa%2F1-3", "", 404, protocol.CodeNotFound},
		{"prune nothing", "POST", "/api/v1/prune", "{}", 400, protocol.CodeBadRequest},
		{"prune by ID and age", "POST", "/api/v1/prune", `{"ids":["aaa"],"keep":1}`, 400, protocol.CodeBadRequest},
		{"prune all but less than none", "POST", "/api/v1/prune", `{"tasks":true,"keep":-1}`, 422, protocol.CodeBadRequest},
		{"prune before no time", "POST", "/api/v1/prune", `{"tasks":true,"before":"yesterday"}`, 422, protocol.CodeBadRequest},
		{"prune what is no ID", "POST", "/api/v1/prune", `{"ids":["../x"]}`, 404, protocol.CodeNotFound},
		{"prune too many IDs", "POST", "/api/v1/prune", `{"ids":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, 422, protocol.CodeBadRequest},
		{"ping nobody", "POST", "/api/v1/peers/zzz/ping", "", 404, protocol.CodeNotFound},
		{"ping a whole ID that is unknown", "POST", "/api/v1/peers/" + stranger + "/ping", "", 504, protocol.CodeTimeout},
		{"ping one that is silent by its short name", "POST", "/api/v1/peers/" + url.PathEscape("…"+apitest.Self[8:16]) + "/ping", "", 504, protocol.CodeTimeout},
		{"ping one of no name", "POST", "/api/v1/peers/" + url.PathEscape("…") + "/ping", "", 404, protocol.CodeNotFound},
		{"ping one that is silent", "POST", "/api/v1/peers/" + apitest.Self + "/ping", "", 504, protocol.CodeTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &caller{t: t, http: c.http}
			status, kind, body := c.do(test.method, test.path, test.body)
			var p api.Problem
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if status != test.status || p.Status != status || p.Code != test.code || p.Detail == "" || kind != "application/problem+json" {
				t.Errorf("got %d %s %+v, want %d %s", status, kind, p, test.status, test.code)
			}
		})
	}
	if list, err := n.Tasks(1, ""); err != nil || len(list) > 0 {
		t.Errorf("a bad request became a task: %v %v", list, err)
	}
}

func TestUploadTooLargeIsRefusedUnread(t *testing.T) {
	n, c := serve(t)
	// The body never comes: what is announced is enough.
	body, w := io.Pipe()
	defer w.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://spare/api/v1/blobs", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = protocol.MaxBlob + 1
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Code != protocol.CodeBadRequest || p.Detail != "stdin is limited to 1 GiB, and so are a module and an input" || p.Hint == "" || n.Puts() != 0 {
		t.Errorf("the answer is %+v after %d uploads", p, n.Puts())
	}
}

func TestSubmissionBecomesSpecAndTerms(t *testing.T) {
	n, c := serve(t)
	digest := protocol.DigestOf([]byte(strings.Repeat("x", 2<<20)))
	var ref api.BlobRef
	if code := c.json("POST", "/api/v1/blobs", strings.Repeat("x", 2<<20), &ref); code != http.StatusCreated || ref.Digest != digest.String() || ref.Size != 2<<20 {
		t.Fatalf("upload: %d %+v", code, ref)
	}
	body := fmt.Sprintf(`{"name":"p.wasm","module":{"data":%q},"args":["a b","--c"],"env":["K=V=W"],"stdin":{"digest":%q},`+
		`"limits":{"memory_bytes":65537,"output_bytes":5,"wall_ms":7},"seed":18446744073709551615,`+
		`"terms":{"replicas":1,"where":"remote","on":"12D3KooWHd","detached":true}}`,
		base64.StdEncoding.EncodeToString(apitest.Module("args")), digest.CID())
	var v api.Task
	if code := c.json("POST", "/api/v1/tasks", body, &v); code != http.StatusCreated {
		t.Fatalf("status %d", code)
	}
	stored, err := n.Task(v.ID)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := protocol.ParseSpec(stored.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(spec.Args, []string{"p.wasm", "a b", "--c"}) || !slices.Equal(spec.Env, []string{"K=V=W"}) ||
		spec.Stdin.Sum() != digest || spec.Stdin.Size != 2<<20 || spec.Module.IsInline() ||
		spec.Limits.MemoryBytes != 2*protocol.PageSize || spec.Limits.OutputBytes != 5 || spec.Limits.WallMs != 7 ||
		spec.Seed != 1<<64-1 || spec.Profile != protocol.Profile || spec.ClockUnixNs != protocol.DefaultClock.UnixNano() {
		t.Errorf("spec %v", spec)
	}
	if w := stored.Terms; w.On != apitest.Other || w.Where != protocol.WhereRemote || w.Replicas != 1 || !w.Detached {
		t.Errorf("terms %v", w)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	n, c := serve(t)
	n.SetAlone(true)
	for path, want := range map[string]string{"/api/v1/peers": "[]\n", "/api/v1/tasks": `{"tasks":[],"next":""}` + "\n"} {
		if _, _, got := c.do("GET", path, ""); string(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	var status map[string]any
	c.json("GET", "/api/v1/status", "", &status)
	for _, key := range []string{"addrs", "refused", "warm"} {
		if _, ok := status[key].([]any); !ok {
			t.Errorf("%s is %v, want a list", key, status[key])
		}
	}
	if url, ok := status["dashboard_url"].(string); !ok || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Errorf("dashboard_url %v", status["dashboard_url"])
	}
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	_, c := serve(t)
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct {
					Schema map[string]any `json:"schema"`
				} `json:"content"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if code := c.json("GET", "/openapi.json", "", &doc); code != http.StatusOK || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%d, version %q", code, doc.OpenAPI)
	}
	var got []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, method+" "+path)
			if ref := op.Responses["default"].Content["application/problem+json"].Schema["$ref"]; ref != "#/components/schemas/Problem" {
				t.Errorf("%s %s tells problems as %v", method, path, ref)
			}
		}
	}
	if len(got) < 40 {
		t.Errorf("described %v", got)
	}
	for _, name := range []string{"Status", "Peer", "Offer", "Task", "Attempt", "Event", "Submission", "Job", "JobEvent", "JobResult", "JobSubmission", "Problem", "File", "Input", "Sandbox", "Layer", "Diagnosis", "Trial", "AddedData", "Addition", "Content"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("no schema %s", name)
		}
	}
}

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// TestOpenAPIIsTheContract shows what changes of the API others will see: a change
// that is meant is written by -update.
func TestOpenAPIIsTheContract(t *testing.T) {
	_, c := serve(t)
	_, _, b := c.do("GET", "/openapi.json", "")
	var got bytes.Buffer
	if err := json.Indent(&got, b, "", " "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got.Bytes(), want) {
		return
	}
	is, was := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(is), len(was)) {
		if is[i] != was[i] {
			t.Fatalf("from line %d on it is\n%s\nand was\n%s\nIf that is meant: go test ./node/api -run Contract -update", i+1,
				strings.Join(is[i:min(i+5, len(is))], "\n"), strings.Join(was[i:min(i+5, len(was))], "\n"))
		}
	}
	t.Fatal("it has become longer or shorter")
}
