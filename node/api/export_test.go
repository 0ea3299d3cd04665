package api

import (
	"net/http"
	"time"
)

// Patterns returns those of every route that is served, and the paths of the page
// that are open.
func (s *Server) Patterns() (socket, page, open []string) {
	mux, open := s.pageRoutes()
	return s.socketRoutes().list, mux.list, open
}

// Page is what is served to browsers, with less patience for bodies.
func (s *Server) Page(patience time.Duration) http.Handler {
	mux, open := s.pageRoutes()
	return inTime(patience, s.door.guard(s.cookie(), open, mux))
}

// SessionIsGood reports whether a cookie that was given out at one time is good at
// another.
func SessionIsGood(made, used time.Time) bool {
	d := newDoor("token")
	r := &http.Request{Header: http.Header{}}
	r.AddCookie(&http.Cookie{Name: "spare", Value: d.session(made)})
	return d.hasSession(r, "spare", used)
}
