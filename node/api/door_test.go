package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
)

// browser opens the dashboard as a browser would.
type browser struct {
	t      *testing.T
	node   *apitest.Node
	server *api.Server
	http   *http.Client
	page   string // the secret that came with the session
}

func newBrowser(t *testing.T) *browser {
	node := apitest.New(t.TempDir())
	server, _ := apitest.Serve(t, node, apitest.Home(t))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := new(http.Transport)
	t.Cleanup(tr.CloseIdleConnections)
	return &browser{t: t, node: node, server: server, page: "none", http: &http.Client{
		Transport: tr, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) request(method, path, body string) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, strings.TrimSuffix(b.server.DashboardURL(), "/")+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return req
}

// answer is a response that has been read.
type answer struct {
	code    int
	header  http.Header
	cookies []*http.Cookie
	body    string
}

func (b *browser) send(req *http.Request) answer {
	b.t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Cookies(), string(body)}
}

// fetch is what the page's own script does.
func (b *browser) fetch(method, path, body string) answer {
	req := b.request(method, path, body)
	req.Header.Set("X-Spare", b.page)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		req.Header.Set("Origin", strings.TrimSuffix(b.server.DashboardURL(), "/"))
	}
	return b.send(req)
}

// code returns a fresh code of a link.
func (b *browser) code() string {
	b.t.Helper()
	link, err := b.server.DashboardLink()
	if err != nil {
		b.t.Fatal(err)
	}
	u, err := url.Parse(link)
	if err != nil {
		b.t.Fatal(err)
	}
	q, err := url.ParseQuery(u.Fragment)
	if err != nil || q.Get("code") == "" {
		b.t.Fatalf("link %s: %v", link, err)
	}
	return q.Get("code")
}

func (b *browser) login() {
	b.t.Helper()
	a := b.fetch("POST", "/api/v1/session", `{"code":"`+b.code()+`"}`)
	var said struct{ Page string }
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || a.code != http.StatusOK || len(said.Page) < 52 {
		b.t.Fatalf("login: %d %s: %v", a.code, a.body, err)
	}
	b.page = said.Page
}

func TestCodes(t *testing.T) {
	b := newBrowser(t)
	login := func(body string) int { return b.fetch("POST", "/api/v1/session", body).code }
	code := b.code()
	if got := login(`{"code":"` + code + `"}`); got != http.StatusOK {
		t.Errorf("a fresh code: %d", got)
	}
	if got := login(`{"code":"` + code + `"}`); got != http.StatusUnauthorized {
		t.Errorf("a used code: %d", got)
	}
	oldest := b.code()
	for range 16 {
		b.code()
	}
	if got := login(`{"code":"` + oldest + `"}`); got != http.StatusUnauthorized {
		t.Errorf("a code that many later ones pushed out: %d", got)
	}
	for name, body := range map[string]string{"no code": `{}`, "an empty code": `{"code":""}`, "a wrong code": `{"code":"AAAA"}`} {
		if got := login(body); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	for name, body := range map[string]string{"no JSON": "code", "a huge body": `{"code":"` + strings.Repeat("A", 1<<20) + `"}`} {
		if got := login(body); got != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got)
		}
	}

	req := b.request("POST", "/api/v1/session", `{"code":"`+b.code()+`"}`)
	req.Header.Set("X-Spare", "1")
	req.Header.Set("Origin", "http://evil.example")
	if a := b.send(req); a.code != http.StatusForbidden {
		t.Errorf("login from another page: %d", a.code)
	}
	req = b.request("POST", "/api/v1/session", `{"code":"`+b.code()+`"}`)
	if a := b.send(req); a.code != http.StatusForbidden {
		t.Errorf("login by a form, which cannot set a header: %d", a.code)
	}
}

func TestSessionCookie(t *testing.T) {
	b := newBrowser(t)
	cookies := b.fetch("POST", "/api/v1/session", `{"code":"`+b.code()+`"}`).cookies
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	c := cookies[0]
	u, err := url.Parse(b.server.DashboardURL())
	if err != nil {
		t.Fatal(err)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Name != "spare-"+u.Port() || c.Path != "/api/v1" || c.Domain != "" || len(c.Value) < 52 || c.MaxAge != 30*24*60*60 {
		t.Errorf("cookie %v", c)
	}
}

func TestSessionsAreGoodForAMonthOrTwo(t *testing.T) {
	day := func(s string) time.Time {
		at, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, x := range []struct {
		made, used string
		good       bool
	}{
		{"2026-01-01", "2026-01-01", true},
		{"2026-01-31", "2026-02-28", true},
		{"2026-01-01", "2026-02-28", true},
		{"2026-01-31", "2026-03-01", false},
		{"2025-12-31", "2026-01-31", true},
		{"2025-12-31", "2026-02-01", false},
		{"2026-02-28", "2026-03-31", true},
		{"2025-03-31", "2026-03-31", false},
		{"2026-03-01", "2026-02-28", false},
	} {
		if got := api.SessionIsGood(day(x.made), day(x.used)); got != x.good {
			t.Errorf("made on %s and used on %s: %v", x.made, x.used, got)
		}
	}
}

func TestPageFilesAreOpenAndStrict(t *testing.T) {
	b := newBrowser(t)
	files, err := os.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"/", "/healthz"}
	for _, f := range files {
		if f.Name() != "index.html" {
			paths = append(paths, "/"+f.Name())
		}
	}
	for _, p := range paths {
		a := b.send(b.request("GET", p, ""))
		if a.code != http.StatusOK {
			t.Errorf("%s: %d", p, a.code)
			continue
		}
		csp := a.header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "require-trusted-types-for 'script'") || strings.Contains(csp, "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", p, a.header)
		}
		for _, bad := range []string{"https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " onclick=", " style="} {
			known := 0
			if p == "/html.js" && bad == "innerHTML" {
				known = 1 // where the page's own templates are parsed, and nothing else
			}
			if strings.Count(a.body, bad) != known {
				t.Errorf("%s contains %q", p, bad)
			}
		}
	}
	req := b.request("GET", "/", "")
	req.Host = "evil.example"
	if a := b.send(req); a.code != http.StatusForbidden {
		t.Errorf("the page under a foreign name: %d", a.code)
	}
	for _, host := range []string{"localhost:9999", "127.0.0.1:9999", "[::1]:9999", "localhost"} {
		req := b.request("GET", "/healthz", "")
		req.Host = host
		if a := b.send(req); a.code != http.StatusOK {
			t.Errorf("through a tunnel as %s: %d", host, a.code)
		}
	}
}
