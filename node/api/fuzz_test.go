package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

// FuzzSubmission sends any body to POST tasks. It must become a task with a
// valid Spec or a problem that blames the request, never a failure of ours.
func FuzzSubmission(f *testing.F) {
	for _, seed := range []string{
		submission("exit 7"),
		`{"module":{"digest":"` + protocol.DigestOf(nil).String() + `"},"stdin":{"data":"aGVsbG8K"}}`,
		`{"module":{"data":"AGFzbQEAAABjYXQ="},"args":["a"],"env":["K=V"],"seed":18446744073709551615,` +
			`"limits":{"memory_bytes":1,"output_bytes":1,"wall_ms":1},"terms":{"replicas":2,"where":"remote","detached":true}}`,
		`{"module":{"data":"AGFzbQEAAABjYXQ="},"terms":{"on":"` + apitest.Other + `"}}`,
		`{"module":{"data":"AGFzbQEAAABjb3B5"},"inputs":[{"path":"/in/b","data":"aGk="},{"path":"/in/a/c"}],"limits":{"gas":5,"file_bytes":2,"files":9}}`,
		`{}`, `[]`, `null`, `"x"`, `{"module":null}`, `{"module":{"data":1e400}}`, "{\"name\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	home := apitest.Home(f)
	apitest.Serve(f, apitest.New(f.TempDir()), home)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(home, "api.sock"))
	}}
	f.Cleanup(tr.CloseIdleConnections)
	client := &http.Client{Transport: tr}
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := client.Post("http://spare/api/v1/tasks", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer := json.NewDecoder(res.Body)
		if res.StatusCode == http.StatusCreated {
			var task api.Task
			if err := answer.Decode(&task); err != nil || len(task.ID) != protocol.TaskIDLen || !strings.HasPrefix(task.Module, "b") {
				t.Errorf("accepted as %+v: %v", task, err)
			}
			return
		}
		var p api.Problem
		if err := answer.Decode(&p); err != nil || p.Status != res.StatusCode || p.Status >= http.StatusInternalServerError || p.Code == "" {
			t.Errorf("%s: %+v: %v", res.Status, p, err)
		}
	})
}
