package api_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

func TestFilesInAndOut(t *testing.T) {
	n, c := serve(t)
	large := strings.Repeat("large", 100_000)
	var ref api.BlobRef
	c.json("POST", "/api/v1/blobs", large, &ref)
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	body := fmt.Sprintf(`{"module":{"data":%q},"limits":{"gas":7,"file_bytes":1000000,"files":9},"inputs":[`+
		`{"path":"/in/z z/ü?#%%","data":%q},{"path":"/in/big","digest":%q},{"path":"/in/middle","data":%q},{"path":"/in/empty"},{"path":"/in/a","data":%q}]}`,
		encoded(string(apitest.Module("copy 0"))), encoded("odd"), ref.Digest, encoded(strings.Repeat("m", 64<<10)), encoded("small"))
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
	if l := spec.Limits; l.Gas != 7 || l.FileBytes != 1_000_000 || l.Files != 9 || v.GasLimit != 7 || v.Limits.Files != 9 {
		t.Errorf("limits %v, shown as %+v", l, v.Limits)
	}
	// What fits rides in the Spec, first come first served by path.
	want := []struct {
		path   string
		size   uint64
		inline bool
		text   string
	}{
		{"/in/a", 5, true, "small"},
		{"/in/big", 500_000, false, large},
		{"/in/empty", 0, true, ""},
		{"/in/middle", 64 << 10, false, strings.Repeat("m", 64<<10)},
		{"/in/z z/ü?#%", 3, true, "odd"},
	}
	var files []api.File
	if code := c.json("GET", "/api/v1/tasks/a/files", "", &files); code != http.StatusOK || len(files) != len(want) || len(v.Inputs) != len(want) || len(spec.Inputs) != len(want) {
		t.Fatalf("%d, files %+v, inputs %+v", code, files, v.Inputs)
	}
	for i, w := range want {
		out := "/out" + strings.TrimPrefix(w.path, "/in")
		if in := spec.Inputs[i]; in.Path != w.path || in.Blob.Size != w.size || in.Blob.IsInline() != w.inline {
			t.Errorf("the input %v, want %+v", in, w)
		}
		if in := v.Inputs[i]; in.Path != w.path || in.Size != w.size || in.Digest != protocol.DigestOf([]byte(w.text)).String() {
			t.Errorf("the input is shown as %+v, want %+v", in, w)
		}
		if f := files[i]; f.Path != out || f.Size != w.size || f.Digest != v.Inputs[i].Digest {
			t.Errorf("the file %+v, want %s of %+v", f, out, w)
		}
		escaped := strings.NewReplacer(" ", "%20", "%", "%25", "?", "%3F", "#", "%23").Replace(out)
		if code, kind, b := c.do("GET", "/api/v1/tasks/aaa/files"+escaped, ""); code != http.StatusOK || kind != "application/octet-stream" || string(b) != w.text {
			t.Errorf("%s: %d %s, %d bytes", out, code, kind, len(b))
		}
	}
	for _, path := range []string{"/out/nothing", "/out/", "", "/", "/in/a", "/out/%2e%2e/in/a", "/etc/passwd"} {
		if code, _, b := c.do("GET", "/api/v1/tasks/aaa/files"+path, ""); code == http.StatusOK && path != "" {
			t.Errorf("%s: %s", path, b)
		}
	}
	// A list of tasks does without their files.
	var page struct {
		Tasks []map[string]any `json:"tasks"`
	}
	c.json("GET", "/api/v1/tasks?limit=1", "", &page)
	if len(page.Tasks) != 1 || page.Tasks[0]["inputs"] != nil || page.Tasks[0]["files"] != nil || page.Tasks[0]["gas"] == nil {
		t.Errorf("listed as %v", page.Tasks)
	}
}

func TestEqualInputsMakeEqualSpecs(t *testing.T) {
	n, c := serve(t)
	var refs [3]api.BlobRef
	texts := []string{"small", strings.Repeat("x", 50<<10), strings.Repeat("y", 20<<10)}
	for i, text := range texts {
		c.json("POST", "/api/v1/blobs", text, &refs[i])
	}
	module := base64.StdEncoding.EncodeToString(apitest.Module("copy 0"))
	var digests []protocol.Digest
	for _, given := range []string{"ddd", "rrr", "drd", "rdr"} { // data or a reference
		var inputs []string
		for i := range texts {
			by := fmt.Sprintf(`"digest":%q`, refs[i].Digest)
			if given[i] == 'd' {
				by = fmt.Sprintf(`"data":%q`, base64.StdEncoding.EncodeToString([]byte(texts[i])))
			}
			inputs = append(inputs, fmt.Sprintf(`{"path":"/in/%d",%s}`, i, by))
		}
		var v api.Task
		if code := c.json("POST", "/api/v1/tasks", fmt.Sprintf(`{"module":{"data":%q},"inputs":[%s]}`, module, strings.Join(inputs, ",")), &v); code != http.StatusCreated {
			t.Fatalf("status %d", code)
		}
		task, err := n.Task(v.ID)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := protocol.ParseSpec(task.Spec)
		if err != nil {
			t.Fatal(err)
		}
		// As the requester does.
		if err := spec.Inline(func(b *protocol.Blob) ([]byte, error) {
			f, _, err := n.Open(b.Sum())
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return io.ReadAll(f)
		}); err != nil {
			t.Fatal(err)
		}
		raw, err := spec.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, protocol.DigestOf(raw))
		if err := spec.Validate(); err != nil || !spec.Inputs[0].Blob.IsInline() || !spec.Inputs[1].Blob.IsInline() || spec.Inputs[2].Blob.IsInline() {
			t.Errorf("%s: %v, inputs of %d bytes", given, err, len(raw))
		}
	}
	for i, d := range digests {
		if d != digests[0] {
			t.Errorf("the Spec of way %d differs", i)
		}
	}
}

func TestFilesOfATaskThatHasNotEnded(t *testing.T) {
	_, c := serve(t)
	c.json("POST", "/api/v1/tasks", submission("block"), &api.Task{})
	var p api.Problem
	if code := c.json("GET", "/api/v1/tasks/a/files", "", &p); code != http.StatusNotFound || p.Code != protocol.CodeNotFound || !strings.Contains(p.Detail, "has not ended") {
		t.Errorf("%d %+v", code, p)
	}
}

func TestMissingBlobs(t *testing.T) {
	_, c := serve(t)
	var ref api.BlobRef
	c.json("POST", "/api/v1/blobs", "here", &ref)
	absent := protocol.DigestOf([]byte("absent"))
	var got api.Digests
	code := c.json("POST", "/api/v1/blobs/missing", fmt.Sprintf(`{"digests":[%q,%q,%q]}`, ref.Digest, absent.CID(), absent.String()), &got)
	if code != http.StatusOK || len(got.Digests) != 2 || got.Digests[0] != absent.CID() || got.Digests[1] != absent.String() {
		t.Errorf("%d %v", code, got)
	}
	if _, _, b := c.do("POST", "/api/v1/blobs/missing", `{"digests":[]}`); string(b) != `{"digests":[]}`+"\n" {
		t.Errorf("of none: %s", b)
	}
}

func TestDiagnosis(t *testing.T) {
	n, c := serve(t)
	var d api.Diagnosis
	if code := c.json("POST", "/api/v1/diagnosis", "", &d); code != http.StatusOK || len(d.Layers) != 3 || len(d.Trials) != 2 || !d.Sound() {
		t.Errorf("%d %+v", code, d)
	}
	n.Break()
	if c.json("POST", "/api/v1/diagnosis", "", &d); d.Sound() {
		t.Errorf("sound: %+v", d)
	}
	for name, c := range map[string]struct {
		d     api.Diagnosis
		sound bool
	}{
		"nothing is known":                 {api.Diagnosis{}, true},
		"what is required is in force":     {api.Diagnosis{Layers: []api.Layer{{Required: true, InForce: true}, {}}}, true},
		"what is required is not":          {api.Diagnosis{Layers: []api.Layer{{Required: true}}}, false},
		"nothing is required, one escaped": {api.Diagnosis{Trials: []api.Trial{{}, {Escaped: true}}}, false},
	} {
		if c.d.Sound() != c.sound {
			t.Errorf("%s: sound is %v", name, !c.sound)
		}
	}
}

func TestMetrics(t *testing.T) {
	_, c := serve(t)
	code, kind, b := c.do("GET", "/metrics", "")
	if code != http.StatusOK || !strings.HasPrefix(kind, "text/plain") {
		t.Fatalf("%d %s", code, kind)
	}
	for _, line := range []string{
		"# HELP spare_sandbox_workers Worker processes.", "# TYPE spare_sandbox_workers gauge", "spare_sandbox_workers 3", "spare_sandbox_workers_busy 1",
		"# TYPE spare_sandbox_workers_started_total counter", "spare_sandbox_workers_started_total 7", "spare_sandbox_workers_killed_total 1",
		"spare_sandbox_memory_bytes 1.00663296e+08", "spare_sandbox_cache_hits_total 4", `spare_sandbox_layer_in_force{layer="seccomp"} 1`,
		`spare_sandbox_layer_in_force{layer="cgroup"} 0`, "spare_slots 2", "spare_replicas_running 1", "spare_peers_connected 1", "spare_blobs 0",
	} {
		if !strings.Contains(string(b), "\n"+line+"\n") && !strings.HasPrefix(string(b), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, family := range []string{"\ngo_goroutines ", "\nprocess_start_time_seconds "} {
		if runtime.GOOS == "linux" && !strings.Contains(string(b), family) {
			t.Errorf("no figures of Go and the process: %s", family)
		}
	}
}

func TestMetricsAreBehindTheDoor(t *testing.T) {
	b := newBrowser(t)
	if a := b.fetch("GET", "/api/v1/metrics", ""); a.code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", a.code)
	}
	b.login()
	if a := b.fetch("GET", "/api/v1/metrics", ""); a.code != http.StatusOK || !strings.Contains(a.body, "spare_sandbox_workers 3") {
		t.Errorf("with one: %d", a.code)
	}
	if a := b.fetch("GET", "/metrics", ""); a.code == http.StatusOK || strings.Contains(a.body, "spare_sandbox_workers") {
		t.Errorf("where the cookie is not sent: %d", a.code)
	}
}
