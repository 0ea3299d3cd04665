package api_test

import (
	"net/http"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
)

func TestPauseAndResume(t *testing.T) {
	_, c := serve(t)
	for _, x := range []struct {
		body   string
		reason string
		until  string
	}{
		{`{}`, "paused by hand until 'spare resume'", "null"},
		{`{"finish":true}`, "paused by hand until 'spare resume'; what runs already may end", "null"},
		{`{"for_ms":7200000}`, "paused by hand until 14:00:00 UTC", `"2026-03-01T14:00:00.123Z"`},
	} {
		_, _, got := c.do("POST", "/api/v1/donation/pause", x.body)
		want := `{"mode":"always","state":"paused","reason":"` + x.reason + `","until":` + x.until + "}\n"
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", x.body, got, want)
		}
		var s api.Status
		if c.json("GET", "/api/v1/status", "", &s); s.Donate.Reason != x.reason {
			t.Errorf("%s: the status is %+v", x.body, s.Donate)
		}
	}
	_, _, got := c.do("POST", "/api/v1/donation/resume", "")
	if want := `{"mode":"always","state":"open","reason":"","until":null}` + "\n"; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, body := range []string{`{"for_ms":-1}`, `{"for_ms":1e15}`, `{"for_ms":"2h"}`, `{"finish":1}`, `{"forever":true}`, `[]`, ``} {
		if code, _, b := c.do("POST", "/api/v1/donation/pause", body); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", body, code, b)
		}
	}
	var s api.Status
	if c.json("GET", "/api/v1/status", "", &s); s.Donate.State != "open" {
		t.Errorf("what cannot be has paused it: %+v", s.Donate)
	}
}

func TestRulesAreChanged(t *testing.T) {
	_, c := serve(t)
	const asked = `,"asked":{"taken":3,"refused":1,"handed_over":0,"last_refusal":{"peer":"` + apitest.Other +
		`","code":"E-REFUSED","message":"the task may use 2 GiB,\u001b[2J this node gives less","at":"2026-03-01T12:00:00.123Z"}}`
	rule := func(value, origin string) string {
		return `{"key":"donate.cpu","value":"` + value + `","origin":"` + origin + `","note":"of 2 CPUs, at the lowest priority"}`
	}
	for _, x := range []struct{ method, path, body, want string }{
		{"GET", "/donation", "", `{"mode":"always","state":"open","reason":"","until":null,"rules":[` + rule("100%", "default") + "]" + asked + "}"},
		{"POST", "/donation/rules", `{"rules":{"donate.cpu":"50%"}}`, `{"mode":"always","state":"open","reason":"","until":null,"rules":[` + rule("50%", "spare donate set") + "]" + asked + "}"},
		{"GET", "/settings", "", `[` + rule("50%", "spare donate set") + `,{"key":"network","value":"test","origin":"flag of spare up","note":""}]`},
		{"POST", "/donation/rules", `{"rules":{"donate.cpu":""}}`, `{"mode":"always","state":"open","reason":"","until":null,"rules":[` + rule("100%", "default") + "]" + asked + "}"},
	} {
		if _, _, got := c.do(x.method, "/api/v1"+x.path, x.body); string(got) != x.want+"\n" {
			t.Errorf("%s %s: got %s, want %s", x.method, x.path, got, x.want)
		}
	}
	for _, body := range []string{`{"rules":{"donate.all":"1"}}`, `{"rules":{"donate.cpu":50}}`, `{"rules":[]}`, `{}`, `{"donate.cpu":"50%"}`} {
		if code, _, b := c.do("POST", "/api/v1/donation/rules", body); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", body, code, b)
		}
	}
}
