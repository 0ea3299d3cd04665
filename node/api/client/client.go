package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// base is the address of the API; the host is only there to make a URL.
const base = "http://spare/api/v1"

// Client calls the API of one node. It is safe for concurrent use.
type Client struct {
	socket string
	dialer net.Dialer
	http   *http.Client
}

// New returns a Client of the node that listens on socket. It connects with
// the first call.
func New(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.dialer.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}
	return c
}

// Status returns what the node says about itself.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "/status")
}

// Peers returns the peers that are connected or have an offer.
func (c *Client) Peers(ctx context.Context) ([]api.Peer, error) {
	return all[api.Peer](ctx, c, "/peers")
}

// Offers returns every offer that the node knows, its own included.
func (c *Client) Offers(ctx context.Context) ([]api.Offer, error) {
	return all[api.Offer](ctx, c, "/offers")
}

// Ping measures a round trip to the peer whose ID begins with prefix.
func (c *Client) Ping(ctx context.Context, prefix string) (api.Pong, error) {
	return call[api.Pong](ctx, c, http.MethodPost, "/peers/"+url.PathEscape(prefix)+"/ping", nil)
}

// DashboardLink returns a URL that opens the dashboard once.
func (c *Client) DashboardLink(ctx context.Context) (string, error) {
	l, err := call[api.Link](ctx, c, http.MethodPost, "/dashboard/link", nil)
	return l.URL, err
}

// Diagnose has one of the node's workers try to break out of its sandbox.
func (c *Client) Diagnose(ctx context.Context) (api.Diagnosis, error) {
	return call[api.Diagnosis](ctx, c, http.MethodPost, "/diagnosis", nil)
}

// Pause has the node run nothing of others for a while or, with 0, until
// Resume. What runs is handed over, or with finish may end.
func (c *Client) Pause(ctx context.Context, d time.Duration, finish bool) (api.Donate, error) {
	body, err := json.Marshal(api.PauseOrder{ForMS: d.Milliseconds(), Finish: finish})
	if err != nil {
		return api.Donate{}, fmt.Errorf("encode the pause: %w", err)
	}
	return call[api.Donate](ctx, c, http.MethodPost, "/donation/pause", body)
}

// Resume takes a pause back.
func (c *Client) Resume(ctx context.Context) (api.Donate, error) {
	return call[api.Donate](ctx, c, http.MethodPost, "/donation/resume", nil)
}

// Donation returns whether the node takes tasks of others, and by which rules.
func (c *Client) Donation(ctx context.Context) (api.Donation, error) {
	return get[api.Donation](ctx, c, "/donation")
}

// SetRules changes the rules that are named; one that is empty is taken back.
func (c *Client) SetRules(ctx context.Context, rules map[string]string) (api.Donation, error) {
	body, err := json.Marshal(api.RuleChanges{Rules: rules})
	if err != nil {
		return api.Donation{}, fmt.Errorf("encode the rules: %w", err)
	}
	return call[api.Donation](ctx, c, http.MethodPost, "/donation/rules", body)
}

// OffersFor returns the offers that the node knows, usable or not for one task.
func (c *Client) OffersFor(ctx context.Context, prefix string) ([]api.Offer, error) {
	return all[api.Offer](ctx, c, taskPath(prefix)+"/offers")
}

// Settings returns every value that the user may decide, and where it was.
func (c *Client) Settings(ctx context.Context) ([]api.Setting, error) {
	return get[[]api.Setting](ctx, c, "/settings")
}

// Tasks returns at most limit tasks, newest first, submitted before the one
// named; an empty ID is later than all.
func (c *Client) Tasks(ctx context.Context, limit int, before string) (api.TaskPage, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before != "" {
		q.Set("before", before)
	}
	return get[api.TaskPage](ctx, c, "/tasks?"+q.Encode())
}

// Task returns the task whose ID begins with prefix.
func (c *Client) Task(ctx context.Context, prefix string) (api.Task, error) {
	return get[api.Task](ctx, c, taskPath(prefix))
}

// Wait returns the task whose ID begins with prefix when it has ended.
func (c *Client) Wait(ctx context.Context, prefix string) (api.Task, error) {
	for {
		t, err := get[api.Task](ctx, c, taskPath(prefix)+"?wait=10m")
		if err != nil || t.Ended != nil {
			return t, err
		}
		if err := pause(ctx); err != nil {
			return t, err
		}
	}
}

// pause parts one long poll from the next, so that a node that answers at once
// is not asked without end.
func pause(ctx context.Context) error {
	select {
	case <-time.After(pollEvery):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const pollEvery = 250 * time.Millisecond

// Cancel ends a task and returns it.
func (c *Client) Cancel(ctx context.Context, prefix string) (api.Task, error) {
	return call[api.Task](ctx, c, http.MethodPost, taskPath(prefix)+"/cancel", nil)
}

// Output opens what a task has written so far to stdout (1) or stderr (2).
func (c *Client) Output(ctx context.Context, prefix string, fd int) (io.ReadCloser, error) {
	name := "/stdout"
	if fd == 2 {
		name = "/stderr"
	}
	return c.do(ctx, http.MethodGet, taskPath(prefix)+name, "", nil)
}

// File opens a file that an ended task has left, by its path as the task's
// files have it.
func (c *Client) File(ctx context.Context, prefix, path string) (io.ReadCloser, error) {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return c.do(ctx, http.MethodGet, taskPath(prefix)+"/files"+strings.Join(segments, "/"), "", nil)
}

// PutBlob uploads a module or an input.
func (c *Client) PutBlob(ctx context.Context, r io.Reader) (api.BlobRef, error) {
	body, err := c.do(ctx, http.MethodPost, "/blobs", "application/octet-stream", r)
	if err != nil {
		return api.BlobRef{}, err
	}
	return decode[api.BlobRef](body)
}

// Missing returns those of the digests, in hex, whose blobs the node lacks.
func (c *Client) Missing(ctx context.Context, digests []string) ([]string, error) {
	ask, err := json.Marshal(api.Digests{Digests: digests})
	if err != nil {
		return nil, fmt.Errorf("encode digests: %w", err)
	}
	d, err := call[api.Digests](ctx, c, http.MethodPost, "/blobs/missing", ask)
	return d.Digests, err
}

// Data returns what the node keeps for its network.
func (c *Client) Data(ctx context.Context) ([]api.AddedData, error) {
	return all[api.AddedData](ctx, c, "/data")
}

// AddData has the node keep data, whose blobs it has.
func (c *Client) AddData(ctx context.Context, cid, name string) (api.AddedData, error) {
	ask, err := json.Marshal(api.Addition{CID: cid, Name: name})
	if err != nil {
		return api.AddedData{}, fmt.Errorf("encode the addition: %w", err)
	}
	return call[api.AddedData](ctx, c, http.MethodPost, "/data", ask)
}

// RemoveData has the node keep data no longer.
func (c *Client) RemoveData(ctx context.Context, cid string) error {
	body, err := c.do(ctx, http.MethodPost, dataPath(cid)+"/remove", "", nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// FetchData has the node bring data from members, and returns what they are.
func (c *Client) FetchData(ctx context.Context, cid string) (api.Content, error) {
	return call[api.Content](ctx, c, http.MethodPost, dataPath(cid)+"/fetch", nil)
}

// DataBytes opens a file by its CID, or one of a directory by its path there.
func (c *Client) DataBytes(ctx context.Context, cid, path string) (io.ReadCloser, error) {
	q := url.Values{"path": {path}}
	return c.do(ctx, http.MethodGet, dataPath(cid)+"/bytes?"+q.Encode(), "", nil)
}

func dataPath(cid string) string { return "/data/" + url.PathEscape(cid) }

// Reach reports whether a node listens at all, which is quick to know: before
// a user's input is read, say.
func (c *Client) Reach(ctx context.Context) error {
	conn, err := c.dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	return conn.Close()
}

func taskPath(prefix string) string { return "/tasks/" + url.PathEscape(prefix) }

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, nil)
}

func call[T any](ctx context.Context, c *Client, method, path string, body []byte) (T, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	answer, err := c.do(ctx, method, path, "application/json", r)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](answer)
}

// all returns an array with its parts, of which each names the next in its header.
func all[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	list := []T{}
	for path != "" {
		res, err := c.send(ctx, http.MethodGet, path, "", nil, nil) //nolint:bodyclose // decode closes it
		if err != nil {
			return nil, err
		}
		part, err := decode[[]T](res.Body)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
		next, _, more := strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
		if path = ""; more && len(part) > 0 {
			path = strings.TrimPrefix(next, "/api/v1")
		}
	}
	return list, nil
}

func decode[T any](body io.ReadCloser) (v T, err error) {
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return v, fmt.Errorf("decode the node's answer: %w", err)
	}
	return v, nil
}

// do sends a request and returns the answer's body, which the caller closes. It
// turns the answer of a failure into its error.
func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader) (io.ReadCloser, error) {
	res, err := c.send(ctx, method, path, contentType, body, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// send is do for who wants the headers too, or has some.
func (c *Client) send(ctx context.Context, method, path, contentType string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, header)
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode < http.StatusBadRequest {
		return res, nil
	}
	defer res.Body.Close()
	p := new(api.Problem)
	if err := json.NewDecoder(res.Body).Decode(p); err != nil || p.Code == "" {
		return nil, protocol.Errorf(protocol.CodeInternal, "the node answered %s", res.Status)
	}
	return nil, p.Err()
}

// unreachable says why the node did not answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return protocol.Errorf(protocol.CodeNoNode, "no node answers at %s", c.socket).WithHint("start one with 'spare up'")
	case errors.Is(err, fs.ErrPermission):
		return notAdmitted(c.socket)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return gone()
	}
	return fmt.Errorf("call the node: %w", err)
}

func notYours(socket string) error {
	return protocol.Errorf(protocol.CodeNoNode, "the node at %s belongs to somebody else", socket).
		WithHint("choose a home of your own with --home or SPARE_HOME")
}

func gone() error {
	return protocol.Errorf(protocol.CodeShutdown, "the node stopped before it had answered").
		WithHint("'spare ps' shows the task when the node runs again")
}
