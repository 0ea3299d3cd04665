package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxEvent bounds one line of the stream, in bytes.
	maxEvent = 16 << 20
	// silence is how long a stream may say nothing; the node beats every 10 s.
	silence = 25 * time.Second
)

// Event is one of what the node tells as it changes.
type Event struct {
	Kind string          // hello, reset, status, peers, task, job or donation; empty: nothing has changed
	Data json.RawMessage // as the API has it
}

// Events calls each with what changes at the node, until ctx ends, the node goes,
// or each fails. Snapshots that are asked for after the hello miss nothing.
func (c *Client) Events(ctx context.Context, each func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() {
		cancel(protocol.Errorf(protocol.CodeTimeout, "the node has said nothing for %s", silence))
	})
	defer silent.Stop()
	body, err := c.do(ctx, http.MethodGet, "/events", "", nil)
	if err != nil {
		return cause(ctx, err)
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var e Event
	for lines.Scan() {
		silent.Reset(silence)
		line := lines.Bytes()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0: // ends an event, or a comment
			if err := each(e); err != nil {
				return err
			}
			e = Event{}
		case string(name) == "event":
			e.Kind = string(value)
		case string(name) == "data":
			e.Data = append(e.Data, value...)
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return cause(ctx, c.unreachable(ctx, err))
	} else if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return gone()
}

// cause is why ctx has ended, or err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
