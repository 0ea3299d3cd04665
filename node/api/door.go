package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	codeLife = 10 * time.Minute
	maxCodes = 16
	// pageHeader must be on every request to the API from the page, with the
	// secret of the page. A foreign page cannot set it without a preflight, which
	// is never answered.
	pageHeader = "X-Spare"
	// cookieLife is how long browsers keep the cookie. It is good for a month at
	// least, and two at most.
	cookieLife = 30 * 24 * time.Hour
	// contentPolicy allows what the page's own files need and nothing else: text
	// becomes markup in html.js alone, and the only worker is feed.js.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types spare spare-feed"
)

// door lets browsers in to the dashboard, and programs that have the token. A URL
// with a code in its fragment, which browsers never send, is swapped once for a
// cookie and a secret. Cookies know no ports: whatever else of this machine the
// browser visits, another account's too, is sent the cookie. The secret is the
// page's own, kept by origin and sent in a header. Both are made of the token, so
// that an open page goes on after a restart of the node.
type door struct {
	token   string
	page    string // the secret of the page
	foreign *http.CrossOriginProtection

	mu    sync.Mutex
	codes map[string]time.Time // to when each was made
}

func newDoor(token string) *door {
	return &door{token: token, page: derive(token, "page header"), foreign: http.NewCrossOriginProtection(), codes: map[string]time.Time{}}
}

// derive returns a secret of a token for one purpose. Who reads it has not read
// the token, nor what is for other purposes.
func derive(token, purpose string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte(purpose))
	return hex.EncodeToString(mac.Sum(nil))
}

// session is the value of cookies that are given out in the month of a time.
func (d *door) session(at time.Time) string {
	return derive(d.token, "dashboard session "+at.UTC().Format("2006-01"))
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

// guard lets a request through to next when it is addressed to this machine by
// name, does not come from another page, and proves whom it is from: by the token,
// or by a session and the page's secret in a header that only the page can set. Each check alone has
// been got around elsewhere: DNS rebinding passes the cookie's origin
// (CVE-2018-5702, CVE-2024-28224), simple requests pass without a preflight, and
// SameSite knows no ports.
//
// Whatever is not in open needs that, so that a new route is closed until somebody
// opens it.
func (d *door) guard(cookie string, open []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")

		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		public := reads && slices.Contains(open, r.URL.Path)
		login := r.Method == http.MethodPost && r.URL.Path == sessionPath
		switch {
		case !isLoopbackName(r.Host):
			refuse(w, protocol.Errorf(protocol.CodeForbidden, "%q is not a name of this machine", protocol.SafeText(r.Host)).
				WithHint("open it as localhost or 127.0.0.1; from another machine, through 'ssh -L'"))
		case !reads && r.Method != http.MethodPost:
			h.Set("Allow", "GET, HEAD, POST")
			refuse(w, protocol.Errorf(protocol.CodeMethod, "the method %s is not known", protocol.SafeText(r.Method)))
		case d.foreign.Check(r) != nil || !public && !sameOrigin(r):
			refuse(w, foreign("the request comes from another page"))
		case public:
			next.ServeHTTP(w, r)
		case login:
			if r.Header.Get(pageHeader) == "" {
				refuse(w, foreign("the header "+pageHeader+" is missing"))
				return
			}
			next.ServeHTTP(w, r)
		case r.Header.Get("Authorization") != "":
			if !d.hasToken(r) {
				refuse(w, unproven("the token is not this node's"))
				return
			}
			next.ServeHTTP(w, r)
		case !d.hasSession(r, cookie, time.Now()) || !same(r.Header.Get(pageHeader), d.page):
			refuse(w, unproven("there is no token and no session"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (d *door) hasToken(r *http.Request) bool {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(kind, "Bearer") && same(token, d.token)
}

// hasSession reports whether a cookie is of this month or the last.
func (d *door) hasSession(r *http.Request, cookie string, now time.Time) bool {
	c, err := r.Cookie(cookie)
	if err != nil {
		return false
	}
	// The day before the first of this month is in the last one.
	last := now.UTC().AddDate(0, 0, -now.UTC().Day())
	return same(c.Value, d.session(now)) || same(c.Value, d.session(last))
}

func same(said, secret string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(said), []byte(secret)) == 1
}

// unproven is the error of a request that may be from anybody.
func unproven(why string) *protocol.Error {
	return protocol.Errorf(protocol.CodeUnproven, "%s", why).
		WithHint("'spare dashboard --print' gives a fresh link; programs send 'Authorization: Bearer TOKEN', which is in the file api-token of the node's home")
}

// foreign is the error of a request that is not the page's own.
func foreign(why string) *protocol.Error {
	return protocol.Errorf(protocol.CodeForbidden, "%s", why).
		WithHint("open the dashboard itself, by 'spare dashboard'; programs send neither Origin nor Sec-Fetch-Site")
}

func refuse(w http.ResponseWriter, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="spare"`)
	}
	w.Header().Set("Connection", "close") // whatever else comes is not read
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
