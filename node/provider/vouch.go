package provider

import (
	"context"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxVouching bounds the members that are tried at once.
	maxVouching = 8
	// vouchRate is how many questions a second one requester may ask.
	vouchRate = 10
	// vouchWithin bounds one answer: who asks decides within half a second.
	vouchWithin = 400 * time.Millisecond
)

// vouch tries whether this node reaches another member, and answers when it
// knows, or refuses to try.
func (s *session) vouch(ctx context.Context, id uint64, vouch *protocol.Vouch) *protocol.Refusal {
	target, err := vouch.Target()
	if err != nil {
		return s.badRequest(err)
	}
	allowed := s.account.vouches.Allow()
	if allowed {
		select {
		case s.vouching <- struct{}{}:
		default:
			allowed = false
		}
	}
	if !allowed {
		return &protocol.Refusal{
			Code: string(protocol.CodeBusy), Message: "too many members are to be tried", Load: s.Load(),
			RetryMs: uint32(time.Second.Milliseconds()),
		}
	}
	s.wg.Go(func() {
		defer func() { <-s.vouching }()
		ctx, cancel := context.WithTimeout(ctx, vouchWithin)
		defer cancel()
		reached := target == s.cfg.Self || s.cfg.Network.Reach(ctx, target) == nil
		_ = s.conn.Send(&protocol.Reply{Id: id, Body: &protocol.Reply_Vouched{Vouched: &protocol.Vouched{Reached: reached}}}) // a dead stream ends the session's loop
	})
	return nil
}
