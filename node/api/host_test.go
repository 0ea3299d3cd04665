package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

func TestGuestsComeInPages(t *testing.T) {
	_, c := serve(t)
	var seen []string
	after := ""
	for range 3 {
		var g api.Guests
		if code := c.json("GET", "/api/v1/guests?limit=1&after="+after, "", &g); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		if len(g.Now) != 1 || len(g.Lately) != 2 || g.Donated.SlotMS != 5_400_000 || g.Others.Requesters != 2 {
			t.Errorf("%+v", g)
		}
		for _, one := range g.Totals {
			seen = append(seen, one.Requester)
		}
		if after = g.Next; after == "" {
			break
		}
	}
	if !slices.Equal(seen, []string{apitest.Other, apitest.Gone}) {
		t.Errorf("totals of %v", seen)
	}
	for path, want := range map[string]int{
		"?limit=0": 422, "?limit=1001": 422, "?limit=x": 422, "?after=nobody": 404,
	} {
		if code, _, b := c.do("GET", "/api/v1/guests"+path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, b, want)
		}
	}
}

func TestAccessIsOrdered(t *testing.T) {
	_, c := serve(t)
	const who = "12D3KooWGzBbbxgnwZ4Lu5vQRWiPnYrVqKLNu9AJCrMpvw7WxNqN"
	for _, x := range []struct {
		path, body, want string
	}{
		{"block", `{"peer":"` + who + `","why":" mines\n\u001b[2J "}`, `{"mode":"all","blocked":[{"peer":"` + who + `","since":"2026-03-01T12:00:00.123Z","why":"mines [2J"}],"allowed":[]}`},
		{"allow", `{"peer":"12D3KooWG"}`, `{"mode":"allowed","blocked":[],"allowed":[{"peer":"` + who + `","since":"2026-03-01T12:00:00.123Z"}]}`},
		{"disallow", `{"peer":"` + who + `"}`, `{"mode":"allowed","blocked":[],"allowed":[]}`},
		{"allow", `{"all":true}`, `{"mode":"all","blocked":[],"allowed":[]}`},
		{"unblock", `{"all":true}`, `{"mode":"all","blocked":[],"allowed":[]}`},
	} {
		if _, _, got := c.do("POST", "/api/v1/access/"+x.path, x.body); string(got) != x.want+"\n" {
			t.Errorf("%s %s: got %s, want %s", x.path, x.body, got, x.want)
		}
	}
	for _, x := range []struct{ path, body string }{
		{"block", `{}`},
		{"block", `{"all":true}`},
		{"block", `{"peer":"` + apitest.Self + `"}`},
		{"block", `{"peer":1}`},
		{"block", ``},
		{"allow", `{"peer":"` + who + `","all":true}`},
		{"allow", `{"peer":"` + who + `","why":"x"}`},
		{"allow", `{"peer":"` + who + `","for":"ever"}`},
	} {
		if code, _, b := c.do("POST", "/api/v1/access/"+x.path, x.body); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %d %s", x.path, x.body, code, b)
		}
	}
	if code, _, b := c.do("POST", "/api/v1/access/block", `{"peer":"12D3KooWnope"}`); code != http.StatusNotFound {
		t.Errorf("by chance the whole ID of nobody: %d %s", code, b)
	}
	for path, want := range map[string]protocol.Code{"unblock": protocol.CodeNotFound, "disallow": protocol.CodeNotFound} {
		var p api.Problem
		if code := c.json("POST", "/api/v1/access/"+path, `{"peer":"`+who+`"}`, &p); code != http.StatusNotFound || p.Code != want {
			t.Errorf("%s of one of whom nothing was said: %d %+v", path, code, p)
		}
	}
	var a api.Access
	if c.json("GET", "/api/v1/access", "", &a); a.Mode != "all" || len(a.Blocked)+len(a.Allowed) > 0 {
		t.Errorf("what cannot be has changed it: %+v", a)
	}
}

func TestLabelsOfASubmission(t *testing.T) {
	_, c := serve(t)
	for body, want := range map[string]int{
		`["site=berlin","gpu","a!=b"]`: http.StatusCreated, `["Site=x"]`: http.StatusBadRequest, `["a==b"]`: http.StatusBadRequest, `"a=b"`: 422,
	} {
		code, _, b := c.do("POST", "/api/v1/tasks", `{"module":{"data":"AGFzbQEAAABleGl0IDA="},"terms":{"labels":`+body+`}}`)
		if code != want {
			t.Errorf("%s: %d %s, want %d", body, code, b, want)
		}
	}
}
