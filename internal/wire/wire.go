// Package wire is the JSON of the API, both ways: requests read and checked
// field by field, sessions, webhooks and errors written in the names of either
// version. It knows nothing of HTTP. Every fact in it comes from the wire
// reference.
package wire

import (
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
)

// Op is an operation of the API, by its path.
type Op string

// The operations that take a body of their own.
const (
	OpCreate  Op = "session/create"
	OpStart   Op = "session/start/payout"
	OpInit    Op = "session/init/payout"
	OpStatus  Op = "session/status"
	OpConfirm Op = "session/confirm"
	OpCancel  Op = "session/cancel"
	OpVerify  Op = "fps/customer_verification"
	OpBalance Op = "wallet/balance"
	OpBanks   Op = "fps/banks"
)

// Request is what a body said, checked.
type Request struct {
	Session id.Session // 0 where none was sent
	Details session.Details
	// PAN is the open card number of Details.Instrument.Card, to be sealed
	// before anything is written; "" for other instruments.
	PAN instrument.PAN
	// Warnings are checks that failed in a mode that only warns; for the log.
	Warnings []string
}

// Parse reads the body of an operation: fault.Invalid with every violation and
// its field's path. The project decides which optional checks are made.
func Parse(op Op, v session.Version, p *partner.Project, body []byte) (Request, error) {
	panic("not yet")
}

// Complete checks that a payout that is about to start has all it needs, from
// the start request and session/create together: fault.Invalid with the path of
// every member that is missing.
func Complete(v session.Version, d session.Details) error { panic("not yet") }

// Answer writes {"status":"ok","session":{…}}.
func Answer(s *session.Session, v session.Version, p *partner.Project) []byte { panic("not yet") }

// Hook writes the body of a webhook: {"type":…,"session":{…}}.
func Hook(h session.Hook, s *session.Session, v session.Version, p *partner.Project) []byte {
	panic("not yet")
}
