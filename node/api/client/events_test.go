package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

func TestEventsTellWhatChanges(t *testing.T) {
	node, c, stop := serve(t)
	kinds, enough := map[string]int{}, errors.New("enough")
	err := c.Events(t.Context(), func(e client.Event) error {
		kinds[e.Kind]++
		switch e.Kind {
		case "hello":
			var h api.Hello
			if err := json.Unmarshal(e.Data, &h); err != nil || h.Boot == "" {
				t.Errorf("hello is %s: %v", e.Data, err)
			}
			if _, err := node.Pause(0, false); err != nil {
				t.Error(err)
			}
		case "donation":
			var d api.Donation
			if err := json.Unmarshal(e.Data, &d); err != nil || d.State != "paused" {
				t.Errorf("the donation is %s: %v", e.Data, err)
			}
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || kinds["hello"] != 1 {
		t.Fatalf("told of %v, then %v", kinds, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Events(ctx, func(client.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	ended := make(chan struct{})
	err = c.Events(t.Context(), func(e client.Event) error {
		if e.Kind == "hello" {
			go func() { stop(); close(ended) }()
		}
		return nil
	})
	if code := protocol.CodeOf(err); code != protocol.CodeShutdown {
		t.Errorf("the node went: %v", err)
	}
	<-ended
	if err := c.Events(t.Context(), func(client.Event) error { return nil }); protocol.CodeOf(err) != protocol.CodeNoNode {
		t.Errorf("without a node: %v", err)
	}
}

func TestProcessTellsWhatTheNodeUses(t *testing.T) {
	_, c, _ := serve(t)
	p, err := c.Process(t.Context())
	if err != nil || p.At.IsZero() {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.CPU <= 0 || p.ResidentBytes < 1<<20 {
		t.Skipf("this system does not tell: %+v", p)
	}
}
