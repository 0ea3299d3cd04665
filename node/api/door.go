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
	// pageHeader must be on every request to the API from the page. A foreign
	// page cannot set it without a preflight, which is never answered.
	pageHeader = "X-Spare"
	// contentPolicy allows what the page's own files need and nothing else.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// door lets browsers in to the dashboard, and programs that have the token. A URL
// with a code in its fragment, which browsers never send, is swapped once for a
// cookie. The cookie is good as long as the token is, so that an open page goes
// on after a restart of the node.
type door struct {
	token   string
	session string
	foreign *http.CrossOriginProtection

	mu    sync.Mutex
	codes map[string]time.Time // to when each was made
}

func newDoor(token string) *door {
	// Who reads the cookie has not read the token.
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("dashboard session"))
	return &door{
		token: token, session: hex.EncodeToString(mac.Sum(nil)), foreign: http.NewCrossOriginProtection(), codes: map[string]time.Time{},
	}
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
// or by a session and a header that only the page can set. Each check alone has
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
			p := problemOf(protocol.Errorf(protocol.CodeBadRequest, "%q is not a name of this machine", protocol.SafeText(r.Host)).
				WithHint("open it as localhost or 127.0.0.1; from another machine, through 'ssh -L'"))
			refuse(w, http.StatusForbidden, p)
		case !reads && r.Method != http.MethodPost:
			h.Set("Allow", "GET, HEAD, POST")
			deny(w, http.StatusMethodNotAllowed, "the method %s is not known", protocol.SafeText(r.Method))
		case d.foreign.Check(r) != nil || !public && !sameOrigin(r):
			deny(w, http.StatusForbidden, "the request comes from another page")
		case public:
			next.ServeHTTP(w, r)
		case login:
			if r.Header.Get(pageHeader) == "" {
				deny(w, http.StatusForbidden, "the header %s is missing", pageHeader)
				return
			}
			next.ServeHTTP(w, r)
		case r.Header.Get("Authorization") != "":
			if !d.hasToken(r) {
				deny(w, http.StatusUnauthorized, "the token is not this node's")
				return
			}
			next.ServeHTTP(w, r)
		case !d.hasSession(r, cookie):
			deny(w, http.StatusUnauthorized, "there is no token and no session")
		case r.Header.Get(pageHeader) == "":
			deny(w, http.StatusForbidden, "the header %s is missing", pageHeader)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (d *door) hasToken(r *http.Request) bool {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(kind, "Bearer") && same(token, d.token)
}

func (d *door) hasSession(r *http.Request, cookie string) bool {
	c, err := r.Cookie(cookie)
	return err == nil && same(c.Value, d.session)
}

func same(said, secret string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(said), []byte(secret)) == 1
}

func deny(w http.ResponseWriter, status int, format string, args ...any) {
	refuse(w, status, problemOf(protocol.Errorf(protocol.CodeBadRequest, format, args...).
		WithHint("'spare dashboard --print' gives a fresh link; programs send 'Authorization: Bearer TOKEN', which is in the file api-token of the node's home")))
}

func refuse(w http.ResponseWriter, status int, p *Problem) {
	p.Status, p.Title = status, http.StatusText(status)
	if status == http.StatusUnauthorized {
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
