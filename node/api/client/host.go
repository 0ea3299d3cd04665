package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spare-network/spare/node/api"
)

// Guests returns whose tasks run on the node now and lately, and at most limit
// totals, those after a requester's; an empty one is before all.
func (c *Client) Guests(ctx context.Context, limit int, after string) (api.Guests, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		q.Set("after", after)
	}
	return get[api.Guests](ctx, c, "/guests?"+q.Encode())
}

// Access returns whose tasks may run on the node.
func (c *Client) Access(ctx context.Context) (api.Access, error) {
	return get[api.Access](ctx, c, "/access")
}

// Order says of a peer, or of all, whether its tasks may run: the verb is
// [api.Block], [api.Unblock], [api.Allow] or [api.Disallow].
func (c *Client) Order(ctx context.Context, verb string, order api.AccessOrder) (api.Access, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return api.Access{}, fmt.Errorf("encode the order: %w", err)
	}
	return call[api.Access](ctx, c, http.MethodPost, "/access/"+url.PathEscape(verb), body)
}
