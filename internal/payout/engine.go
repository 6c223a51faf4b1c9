// Package payout is the engine: the one door through which everything passes
// that changes a session, the ledger, the outbox or a task.
package payout

import (
	"context"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

// Engine runs payouts.
type Engine struct{}

// Call is one authenticated request of a partner.
type Call struct {
	Project *partner.Project
	Version session.Version
	// Key is the idempotency key, "" for none; Replay asks for the first answer
	// in place of a refusal.
	Key    string
	Replay bool
	// Print is SHA-256 over the operation and the body: what the key stands for.
	Print [32]byte
}

// Answer is the body of an answer with status 200.
type Answer struct {
	Body     []byte
	Replayed bool // it is the answer to an earlier request with the same key
}

// Caller is a project with the keys that may sign for it.
type Caller struct {
	*partner.Project
	Public []sign.PublicKey
}

// Caller finds a project by its name.
func (e *Engine) Caller(p id.Project) (Caller, bool) { panic("not yet") }

// Create makes an empty or pre-filled session.
func (e *Engine) Create(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Start starts a payout in a created session.
func (e *Engine) Start(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Init creates a session and starts a payout in it.
func (e *Engine) Init(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Verify starts an FPS verification, in the session named or in a new one.
func (e *Engine) Verify(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Confirm releases a payout that awaits it.
func (e *Engine) Confirm(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Cancel drops a session that is created or awaits confirmation.
func (e *Engine) Cancel(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Status shows a session.
func (e *Engine) Status(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	panic("not yet")
}

// Balance shows what a project may pay out.
func (e *Engine) Balance(ctx context.Context, c Call) (Answer, error) { panic("not yet") }
