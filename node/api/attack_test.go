package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

// served is a route of the page as the server has it.
type served struct {
	method, pattern, path string
	open                  bool // anybody may read it
	json                  bool // it takes a body of JSON
	raw                   bool // it takes a body as it is
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// routesOf returns every route of the page, so that a new one is attacked by every
// test here without being named.
func routesOf(t *testing.T, b *browser) (list []served) {
	t.Helper()
	socket, page, open := b.server.Patterns()
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]any `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(b.program("GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	var raw []string
	for _, pattern := range page {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			continue // the answer to what there is not
		}
		r := served{method: method, pattern: path}
		op, described := doc.Paths[strings.ReplaceAll(path, "...}", "}")][strings.ToLower(method)]
		if !described {
			raw = append(raw, pattern)
		}
		_, r.json = op.RequestBody.Content["application/json"]
		_, r.raw = op.RequestBody.Content["application/octet-stream"]
		path = strings.NewReplacer("{$}", "", "{peer}", apitest.Other, "{path...}", "out/a").Replace(path)
		r.path = wildcard.ReplaceAllString(path, "aaaaaaaaaa")
		r.open = method == "GET" && slices.Contains(open, r.path)
		if !r.open && !slices.Contains(socket, pattern) && path != "/api/v1/session" {
			t.Errorf("the page has %s, and the socket has not", pattern)
		}
		list = append(list, r)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			if !slices.ContainsFunc(list, func(r served) bool {
				return r.method == strings.ToUpper(method) && strings.ReplaceAll(r.pattern, "...}", "}") == path
			}) {
				t.Errorf("%s %s is described and not served", method, path)
			}
		}
	}
	for _, pattern := range raw {
		method, path, _ := strings.Cut(pattern, " ")
		static := method == "GET" && slices.Contains(open, strings.TrimSuffix(path, "{$}"))
		if !static && !slices.Contains([]string{"GET /metrics", "GET /api/v1/metrics", "GET /openapi.json", "POST /api/v1/session"}, pattern) {
			t.Errorf("%s is served and not described", pattern)
		}
	}
	for _, pattern := range socket {
		if _, path, _ := strings.Cut(pattern, " "); strings.HasPrefix(path, "/debug") && slices.Contains(page, pattern) {
			t.Errorf("the page has %s", pattern)
		}
	}
	if len(list) < 40 {
		t.Fatalf("only %d routes were found", len(list))
	}
	return list
}

// program sends a request as a program does that has the token.
func (b *browser) program(method, path, body string) answer {
	req := b.request(method, path, body)
	req.Header.Set("Authorization", "Bearer "+apitest.Token)
	req.Header.Set("Content-Type", "application/json")
	return b.send(req)
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func set(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

func method(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }

func also(list ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, f := range list {
			f(r)
		}
	}
}

// nobody takes away what proves whom a request is from.
func nobody(r *http.Request) {
	r.Header.Del("Authorization")
	r.Header.Del("Cookie")
}

func query(key string) func(*http.Request) {
	return func(r *http.Request) {
		nobody(r)
		r.URL.RawQuery = url.Values{key: {apitest.Token}}.Encode()
	}
}

var attacks = []struct {
	name   string
	status int
	attack func(*http.Request)
	page   bool // only the page's own requests can be so
	reads  bool // what is open is refused too
}{
	{name: "rebound name", status: 403, attack: host("evil.example"), reads: true},
	{name: "rebound name and port", status: 403, attack: host("evil.example:4001"), reads: true},
	{name: "name like an address of loopback", status: 403, attack: host("127.0.0.1.evil.example"), reads: true},
	{name: "localhost as a label", status: 403, attack: host("localhost.evil.example:80"), reads: true},
	{name: "every address", status: 403, attack: host("0.0.0.0"), reads: true},
	{name: "another machine's address", status: 403, attack: host("192.168.1.7:80"), reads: true},
	{name: "user in the name", status: 403, attack: host("localhost@evil.example"), reads: true},

	{name: "cross-site GET", status: 403, attack: set("Sec-Fetch-Site", "cross-site")},
	{name: "GET from another port", status: 403, attack: set("Sec-Fetch-Site", "same-site")},
	{name: "navigation", status: 403, attack: set("Sec-Fetch-Site", "none")},
	{name: "foreign origin", status: 403, attack: set("Origin", "https://evil.example")},
	{name: "origin of another port", status: 403, attack: set("Origin", "http://127.0.0.1:1")},
	{name: "origin by another protocol", status: 403, attack: func(r *http.Request) { r.Header.Set("Origin", "https://"+r.Host) }},
	{name: "opaque origin", status: 403, attack: set("Origin", "null")},
	{name: "origin that is none", status: 403, attack: set("Origin", "http://[::1")},
	{name: "cross-site POST", status: 403, attack: func(r *http.Request) {
		r.Method = "POST"
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Content-Type", "text/plain")
	}},
	{name: "POST of a foreign form", status: 403, attack: func(r *http.Request) {
		r.Method = "POST"
		r.Header.Del("Sec-Fetch-Site") // an old browser
		r.Header.Set("Origin", "http://evil.example")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}},

	{name: "no token", status: 401, attack: nobody},
	{name: "empty token", status: 401, attack: also(nobody, set("Authorization", "Bearer "))},
	{name: "wrong token", status: 401, attack: also(nobody, set("Authorization", "Bearer "+strings.Repeat("f", len(apitest.Token))))},
	{name: "part of the token", status: 401, attack: also(nobody, set("Authorization", "Bearer "+apitest.Token[:32]))},
	{name: "token and more", status: 401, attack: also(nobody, set("Authorization", "Bearer "+apitest.Token+" x"))},
	{name: "token by another scheme", status: 401, attack: also(nobody, set("Authorization", "Basic "+apitest.Token))},
	{name: "token alone", status: 401, attack: also(nobody, set("Authorization", apitest.Token))},
	{name: "wrong token with a session", status: 401, attack: set("Authorization", "Bearer x"), page: true},
	{name: "token as a parameter", status: 401, attack: query("token")},
	{name: "token as access_token", status: 401, attack: query("access_token")},
	{name: "cookie of another value", status: 401, attack: also(nobody, func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "spare-" + r.URL.Port(), Value: strings.Repeat("a", 64)})
	})},
	{name: "token as the cookie", status: 401, attack: also(nobody, func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "spare-" + r.URL.Port(), Value: apitest.Token})
	})},
	{name: "empty cookie", status: 401, attack: also(nobody, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "spare-" + r.URL.Port()}) })},
	{name: "cookie of another node", status: 401, attack: func(r *http.Request) {
		c := strings.Replace(r.Header.Get("Cookie"), "spare-", "spare-1", 1)
		nobody(r)
		r.Header.Set("Cookie", c)
	}},
	{name: "no header of the page", status: 401, attack: func(r *http.Request) { r.Header.Del("X-Spare") }, page: true},
	{name: "header of another value", status: 401, attack: set("X-Spare", "1"), page: true},
	{name: "cookie as the header, which other servers of this machine are sent", status: 401, attack: func(r *http.Request) {
		_, value, _ := strings.Cut(r.Header.Get("Cookie"), "=")
		r.Header.Set("X-Spare", value)
	}, page: true},
	{name: "header of the page without a cookie", status: 401, attack: func(r *http.Request) { r.Header.Del("Cookie") }, page: true},
	{name: "header of the page as the cookie", status: 401, attack: func(r *http.Request) {
		r.Header.Set("Cookie", "spare-"+r.URL.Port()+"="+r.Header.Get("X-Spare"))
	}, page: true},
	{name: "preflight", status: 405, attack: func(r *http.Request) {
		r.Method = "OPTIONS"
		r.Header.Set("Access-Control-Request-Method", "POST")
	}, reads: true},
	{name: "PUT", status: 405, attack: method("PUT"), reads: true},
	{name: "PATCH", status: 405, attack: method("PATCH"), reads: true},
	{name: "DELETE", status: 405, attack: method("DELETE"), reads: true},
	{name: "TRACE", status: 405, attack: method("TRACE"), reads: true},
	{name: "a method of no standard", status: 405, attack: method("SPARE"), reads: true},
}

// callers are the two who may use the page's address.
func callers(t *testing.T, b *browser) map[string]func(*http.Request) {
	b.login()
	u, err := url.Parse(b.server.DashboardURL() + "api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	cookie := b.http.Jar.Cookies(u)[0]
	b.http.Jar = nil // which would not send it everywhere
	return map[string]func(*http.Request){
		"page": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
			r.Header.Set("X-Spare", b.page)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		},
		"program": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.Token) },
	}
}

// codes name why a request is refused, by its status.
var codes = map[int]protocol.Code{401: protocol.CodeUnproven, 403: protocol.CodeForbidden, 405: protocol.CodeMethod}

func isProblem(a answer) bool {
	var p api.Problem
	return a.header.Get("Content-Type") == "application/problem+json" && json.Unmarshal([]byte(a.body), &p) == nil &&
		p.Status == a.code && p.Title != "" && p.Detail != "" && p.Code == cmp.Or(codes[a.code], p.Code) && p.Code != ""
}

func TestEveryRouteWithstandsEveryAttack(t *testing.T) {
	b := newBrowser(t)
	routes := routesOf(t, b)
	for who, as := range callers(t, b) {
		for _, route := range routes {
			login := route.path == "/api/v1/session"
			for _, x := range attacks {
				switch {
				case x.page && who != "page",
					route.open && !x.reads,
					login && x.status == 401: // which gives sessions, for a code
					continue
				}
				t.Run(who+" "+route.method+" "+route.pattern+" "+x.name, func(t *testing.T) {
					b := &browser{t: t, server: b.server, http: b.http}
					req := b.request(route.method, route.path, "{}")
					req.Header.Set("Content-Type", "application/json")
					as(req)
					x.attack(req)
					a := b.send(req)
					if a.code != x.status || !isProblem(a) {
						t.Errorf("got %d, want %d: %s", a.code, x.status, a.body)
					}
					if strings.Contains(a.body, apitest.Self) || strings.Contains(a.body, apitest.Token) {
						t.Errorf("leaked: %s", a.body)
					}
					for key := range a.header {
						if strings.HasPrefix(key, "Access-Control-") || key == "Set-Cookie" {
							t.Errorf("answers with %s: %s", key, a.header[key])
						}
					}
				})
			}
		}
	}
	if b.node.Touched() {
		t.Error("an attack has changed the node")
	}
}

// TestEveryRouteIsOpenToWhoMayUseIt shows that it is the attacks that are refused.
func TestEveryRouteIsOpenToWhoMayUseIt(t *testing.T) {
	b := newBrowser(t)
	routes := routesOf(t, b)
	for who, as := range callers(t, b) {
		for _, route := range routes {
			if route.path == "/api/v1/session" {
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			req := b.request(route.method, route.path, "{}").WithContext(ctx)
			req.Header.Set("Content-Type", "application/json")
			as(req)
			res, err := b.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == 401 || res.StatusCode == 403 || res.StatusCode == 405 || res.StatusCode >= 500 {
				t.Errorf("%s: %s %s: %s", who, route.method, route.path, res.Status)
			}
			cancel() // events go on for ever
			res.Body.Close()
		}
	}
}

func TestWrongMethodsAreNamed(t *testing.T) {
	b := newBrowser(t)
	routes := routesOf(t, b)
	for _, route := range routes {
		other := "POST"
		if route.method == "POST" {
			other = "GET"
		}
		if slices.ContainsFunc(routes, func(r served) bool { return r.method == other && r.pattern == route.pattern }) {
			continue
		}
		for _, override := range []string{"", route.method} {
			req := b.request(other, route.path, "{}")
			req.Header.Set("Authorization", "Bearer "+apitest.Token)
			req.Header.Set("X-HTTP-Method-Override", override)
			if a := b.send(req); a.code != http.StatusMethodNotAllowed || a.header.Get("Allow") != route.method || !isProblem(a) {
				t.Errorf("%s %s: %d, allows %q: %s", other, route.path, a.code, a.header.Get("Allow"), a.body)
			}
		}
	}
}

// endless is a body that counts what is taken of it.
type endless struct{ taken atomic.Int64 }

// mostTaken is above what a server reads, and what sockets hold.
const mostTaken = 32 << 20

func (e *endless) Read(p []byte) (int, error) {
	if e.taken.Load() > mostTaken {
		return 0, io.ErrUnexpectedEOF
	}
	for i := range p {
		p[i] = ' ' // before JSON
	}
	e.taken.Add(int64(len(p)))
	return len(p), nil
}

func TestBodiesAreBounded(t *testing.T) {
	b := newBrowser(t)
	for _, route := range routesOf(t, b) {
		if route.method != "POST" {
			continue
		}
		body := new(endless)
		req := b.request(route.method, route.path, "")
		req.Body, req.ContentLength = io.NopCloser(body), 1<<40
		req.Header.Set("Authorization", "Bearer "+apitest.Token)
		req.Header.Set("X-Spare", "1")
		req.Header.Set("Content-Type", "application/json")
		res, err := b.http.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", route.path, err)
		}
		res.Body.Close()
		refused := res.StatusCode == http.StatusRequestEntityTooLarge || res.StatusCode == http.StatusBadRequest
		if (route.json || route.raw) && !refused || body.taken.Load() > mostTaken || !res.Close {
			t.Errorf("%s: %s, %d bytes were taken", route.path, res.Status, body.taken.Load())
		}
	}
}

func TestSlowBodiesAreCutOff(t *testing.T) {
	b := newBrowser(t)
	routes := routesOf(t, b)
	page := httptest.NewServer(b.server.Page(20 * time.Millisecond))
	t.Cleanup(page.Close)
	for _, route := range routes {
		for name, token := range map[string]string{"with the token": apitest.Token, "without": "x"} {
			t.Run(route.method+" "+route.pattern+" "+name, func(t *testing.T) {
				if strings.HasSuffix(route.path, "/events") && token != "x" {
					t.Skip("it goes on for ever, whatever is sent")
				}
				t.Parallel()
				c, err := net.Dial("tcp", page.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				head := route.method + " " + route.path + " HTTP/1.1\r\nHost: localhost\r\nX-Spare: 1\r\nAuthorization: Bearer " + token +
					"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
				if _, err := c.Write([]byte(head)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
					t.Errorf("it waits for the body: %v", err)
				}
			})
		}
	}
}

func TestHostileMediaTypes(t *testing.T) {
	b := newBrowser(t)
	for _, route := range routesOf(t, b) {
		if route.method != "POST" || route.path == "/api/v1/session" {
			continue
		}
		for _, kind := range []string{
			"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/cbor", "application/xml",
			"text/html", "application/json5", "*/*", strings.Repeat("a", 1000), "application/json, text/plain",
		} {
			req := b.request(route.method, route.path, "{}")
			req.Header.Set("Authorization", "Bearer "+apitest.Token)
			req.Header.Set("Content-Type", kind)
			a := b.send(req)
			if route.json && a.code != http.StatusUnsupportedMediaType && a.code != http.StatusBadRequest || a.code >= 500 {
				t.Errorf("%s as %.40q: %d %s", route.path, kind, a.code, a.body)
			}
			if a.code >= 400 && !isProblem(a) {
				t.Errorf("%s as %.40q is told as %s: %s", route.path, kind, a.header.Get("Content-Type"), a.body)
			}
		}
	}
}
