package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Submit submits a task whose module is named by its digest, and uploads the
// module when the node lacks it, so that a program that is known costs one
// small request.
func (c *Client) Submit(ctx context.Context, in *api.Submission, module []byte) (api.Task, error) {
	body, err := c.submit(ctx, "/tasks", in, module)
	if err != nil {
		return api.Task{}, err
	}
	return decode[api.Task](body)
}

// Run submits a task as [Client.Submit] does and calls each with its events
// until it has ended; it returns the ended task. It ends early with the error
// of each or of ctx; the task goes on then.
func (c *Client) Run(ctx context.Context, in *api.Submission, module []byte, each func(api.Event) error) (*api.Task, error) {
	body, err := c.submit(ctx, "/tasks?follow=true", in, module)
	if err != nil {
		return nil, err
	}
	return c.readTask(ctx, body, each)
}

// Follow is [Client.Run] for a task that was submitted before. Its output is
// told from its start.
func (c *Client) Follow(ctx context.Context, prefix string, each func(api.Event) error) (*api.Task, error) {
	body, err := c.do(ctx, http.MethodGet, taskPath(prefix)+"/follow", "", nil)
	if err != nil {
		return nil, err
	}
	return c.readTask(ctx, body, each)
}

func (c *Client) submit(ctx context.Context, path string, in *api.Submission, module []byte) (io.ReadCloser, error) {
	in.Module = api.Bytes{Digest: protocol.DigestOf(module).String()}
	return c.submitWith(ctx, path, in, module)
}

// submitWith submits what names the module, and uploads that if it is missing.
func (c *Client) submitWith(ctx context.Context, path string, in any, module []byte) (io.ReadCloser, error) {
	ask, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode submission: %w", err)
	}
	body, err := c.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(ask))
	if err == nil || protocol.CodeOf(err) != protocol.CodeBlob {
		return body, err
	}
	if _, err := c.PutBlob(ctx, bytes.NewReader(module)); err != nil {
		return nil, fmt.Errorf("upload program: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(ask))
}

func (c *Client) readTask(ctx context.Context, body io.ReadCloser, each func(api.Event) error) (*api.Task, error) {
	return read(ctx, c, body, each, func(e api.Event) (*api.Task, *api.Problem) { return e.Ended, e.Error })
}

// read calls each with the events of a body, one a line, to the one that last
// finds to be the end or a failure.
func read[E, T any](ctx context.Context, c *Client, body io.ReadCloser, each func(E) error, last func(E) (*T, *api.Problem)) (*T, error) {
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var e E
		if err := lines.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, gone()
			}
			return nil, c.unreachable(ctx, err)
		}
		ended, problem := last(e)
		if problem != nil {
			return nil, problem.Err()
		}
		if err := each(e); err != nil {
			return nil, err
		}
		if ended != nil {
			return ended, nil
		}
	}
}
