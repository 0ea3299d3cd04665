package api

import (
	"io"
	"net/http"
	"time"
)

const (
	// bodyGrace is how long a body may take, and bodyRate how many bytes more give
	// it a second more, so that an upload takes as long as it has to and one that
	// drips ends soon.
	bodyGrace = 30 * time.Second
	bodyRate  = 16 << 10
	// restWithin is how long the rest of a body may take that nobody has read.
	restWithin = time.Second
)

// inTime has next read bodies that come in time: within grace, and more when they
// are large.
func inTime(grace time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		b := &timedBody{ReadCloser: r.Body, control: http.NewResponseController(w), until: time.Now().Add(grace)}
		// The server reads on by itself before it answers, if nobody else does.
		if b.control.SetReadDeadline(b.until) != nil {
			return // the connection has gone
		}
		// A copy, so that the server still finds its own body, and closes the
		// connection when that was not read to its end.
		timed := *r
		timed.Body = b
		next.ServeHTTP(w, &timed)
		if !b.read {
			_ = b.control.SetReadDeadline(time.Now().Add(min(grace, restWithin))) // the connection has gone
		}
	})
}

// timedBody is a body with a deadline that moves with what comes.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
	read    bool // to its end
}

// Read implements [io.Reader].
func (b *timedBody) Read(p []byte) (int, error) {
	if !b.read {
		if err := b.control.SetReadDeadline(b.until); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.until = b.until.Add(time.Duration(n) * time.Second / bodyRate)
	if err == io.EOF && !b.read {
		b.read = true
		// Left behind, it would end a task that is followed.
		_ = b.control.SetReadDeadline(time.Time{}) // the connection has gone
	}
	return n, err
}
