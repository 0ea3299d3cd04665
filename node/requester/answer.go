package requester

import (
	"errors"
	"fmt"
	"time"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// take judges an outcome once all of it is here.
func (c *conductor) take(a *attempt) (*protocol.Result, error) {
	o := a.outcome
	switch {
	case o == nil:
		return nil, nil
	case o.Code != "":
		if o.Code == string(protocol.CodeBlob) {
			c.checkBlobs() // it may be ours that is damaged
		}
		return c.lose(a, fmt.Errorf("the provider failed: %s: %s", o.Code, o.Message))
	case a.claimed == claimReceipt:
		return c.revealed(a)
	case o.Streamed && !a.outputEnded:
		a.expect(max(outputGrace, time.Until(a.in.Load().filesUntil())), errNoOutput)
		a.late.stop()
		a.late = a.newPace()
		return nil, nil
	}
	if err := a.verify(); err != nil {
		return c.wrong(a, err)
	}
	pack, err := a.in.Load().keepFiles()
	if err != nil {
		return c.lose(a, err)
	}
	c.r.warm.Add(warmKey{a.provider, c.spec.Module.Sum()}, struct{}{})
	if o.Load != nil {
		c.r.pool.told(a.provider, o.Load)
	}
	result := o.Result
	result.Pack = pack
	result.Hint = mend(protocol.Code(result.Code))
	result.Message = protocol.SafeText(result.Message)
	a.receipt = o.Receipt
	a.tell(result)
	c.end(a, protocol.StateDone, "")
	return c.step(a, market.Answered)
}

// revealed checks what an attempt was bound to against what it reveals.
func (c *conductor) revealed(a *attempt) (*protocol.Result, error) {
	o := a.outcome
	if err := a.verifyReceipt(); err != nil {
		return c.wrong(a, err)
	}
	a.timer.Stop()
	a.late.stop()
	a.outcome, a.receipt, a.claimed = nil, o.Receipt, claimNothing
	a.bound, a.adrift = true, false // by what it has said, if by nothing before
	a.commitment = protocol.CommitmentOf(protocol.Digest(o.Result.Digest), a.provider, a.nonce)
	a.held.Store(true)
	a.tell(o.Result)
	return c.step(a, market.Revealed)
}

// wrong ends an attempt whose provider has not told the truth.
func (c *conductor) wrong(a *attempt, err error) (*protocol.Result, error) {
	if !errors.Is(err, errKeep) && !errors.Is(err, errDiverged) && !errors.Is(err, errBroken) { // those are not its doing, or not surely
		c.r.foundWrong(a.provider, fmt.Sprintf("task %s: %v", c.id, err))
	}
	a.said = protocol.Digest{} // it counts for nothing
	result, lost := c.lose(a, err)
	c.excluded[a.provider] = whyWrong
	return result, lost
}

// finish returns what the course has ended with.
func (c *conductor) finish(end *market.End) (*protocol.Result, error) {
	c.learn()
	if end.Attempt == 0 {
		return nil, fmt.Errorf("%w: %w", errFinal, c.noQuorum(end.Hopeless))
	}
	chosen := c.attempts[end.Attempt-1]
	if chosen.votes {
		c.show(&chosen.out)
	}
	result := chosen.outcome.Result
	result.Receipts = []*protocol.Receipt{chosen.receipt}
	c.judged(chosen.said, result)
	return result, nil
}
