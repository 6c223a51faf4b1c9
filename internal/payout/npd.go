package payout

import (
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
)

var errNoTax = fault.New(fault.Unauthorized, "this server has no connection to the tax service")

// taxed refuses a project that may not ask the tax service: fault.Unauthorized
// where there is none, or the project lacks the right.
func (e *Engine) taxed(p *partner.Project) error {
	switch {
	case e.tax == nil:
		return errNoTax
	case !e.sandbox && !p.SelfEmployed:
		return fault.New(fault.Unauthorized, "self-employed people are not enabled for the project")
	}
	return nil
}
