package api

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	codeLife = 10 * time.Minute
	maxCodes = 16
	// pageHeader must be on every request to the API from the page. A foreign
	// page cannot set it without a preflight, which is never answered.
	pageHeader = "X-Spare"
	// contentPolicy allows what the page's own files need and nothing else.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// door lets browsers in to the dashboard. A URL with a code in its fragment,
// which browsers never send, is swapped once for a cookie. Both end with the
// process.
type door struct {
	session string
	foreign *http.CrossOriginProtection

	mu    sync.Mutex
	codes map[string]time.Time // to when each was made
}

func newDoor() *door {
	return &door{session: secret(), foreign: http.NewCrossOriginProtection(), codes: map[string]time.Time{}}
}

// secret returns 256 random bits in letters and digits.
func secret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
}

func (d *door) newCode(now time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.codes) == maxCodes {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(d.codes)), func(a, b string) int {
			return d.codes[a].Compare(d.codes[b])
		})
		delete(d.codes, oldest)
	}
	code := secret()
	d.codes[code] = now
	return code
}

// useCode reports whether code is good, which it is once.
func (d *door) useCode(now time.Time, code string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	made, ok := d.codes[code]
	delete(d.codes, code)
	return ok && now.Sub(made) < codeLife
}

func (d *door) isSession(value string) bool {
	return subtle.ConstantTimeCompare([]byte(value), []byte(d.session)) == 1
}

// guard lets a request from a browser through to next when it is addressed to
// this machine by name, comes from the page itself and has a session. Each
// check alone has been got around elsewhere: DNS rebinding passes the cookie's
// origin (CVE-2018-5702, CVE-2024-28224), simple requests pass without a
// preflight, and SameSite knows no ports.
//
// Whatever is not in open needs a session, so that a new route is closed until
// somebody opens it.
func (d *door) guard(cookie string, open []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")

		public := slices.Contains(open, r.URL.Path)
		login := r.URL.Path == sessionPath && r.Method == http.MethodPost
		switch {
		case !isLoopbackName(r.Host):
			deny(w, http.StatusForbidden, "the host %q is not this machine", protocol.SafeText(r.Host))
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !login:
			h.Set("Allow", "GET, HEAD")
			deny(w, http.StatusMethodNotAllowed, "the dashboard changes nothing; use the socket")
		case d.foreign.Check(r) != nil || !public && !sameOrigin(r):
			deny(w, http.StatusForbidden, "the request comes from another page")
		case !public && r.Header.Get(pageHeader) == "":
			deny(w, http.StatusForbidden, "the header %s is missing", pageHeader)
		case !public && !login && !d.hasSession(r, cookie):
			deny(w, http.StatusUnauthorized, "there is no session")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (d *door) hasSession(r *http.Request, cookie string) bool {
	c, err := r.Cookie(cookie)
	return err == nil && d.isSession(c.Value)
}

func deny(w http.ResponseWriter, status int, format string, args ...any) {
	p := problemOf(protocol.Errorf(protocol.CodeBadRequest, format, args...).
		WithHint("'spare dashboard --print' gives a fresh link"))
	p.Status, p.Title = status, http.StatusText(status)
	writeProblem(w, p)
}

// isLoopbackName accepts any port, so that an ssh tunnel works.
func isLoopbackName(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return host == "127.0.0.1" || host == "localhost" || host == "::1" || host == "[::1]"
}

// sameOrigin believes what the browser says about where a request comes from.
// Programs that are no browsers say nothing; the session is their proof.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && u.Host == r.Host
}
