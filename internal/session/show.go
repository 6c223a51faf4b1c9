package session

// Shown is what the wire says of a session or payout in a state
// (wire reference, core §2.2 to §2.4).
type Shown struct {
	Session    string // session.status
	Payout     string // payout status, "" where there is no payout yet
	NextAction string // next_action, "" where nothing is expected
}

// shown is the map of our states to the wire. Unclear stays in_progress: a
// partner who reads "failed" pays again, so we never say so before we know.
var shown = map[State]Shown{
	Created:   {"created", "", ""},
	Checking:  {"in_progress", "in_progress", ""},
	Checked:   {"in_progress", "in_progress", ""},
	Awaiting:  {"in_progress", "pending", "confirm"},
	Confirmed: {"in_progress", "pending", ""},
	Sent:      {"in_progress", "in_progress", ""},
	Unclear:   {"in_progress", "in_progress", ""},
	Paid:      {"accepted", "succeeded", ""},
	Failed:    {"cancelled", "failed", ""},
	Cancelled: {"cancelled", "failed", ""},
	Returned:  {"accepted", "succeeded", ""},
}

// Show maps a payout to the wire. A disputed payout is shown as it was before
// the contradiction: as failed if it had failed, else as paid.
func (p *Payout) Show() Shown {
	if p.State == Disputed {
		if p.Failure != nil {
			return shown[Failed]
		}
		return shown[Paid]
	}
	return shown[p.State]
}

// Show maps the session to the wire: accepted if any payout succeeded, else
// cancelled once all have ended; confirm is asked when every live one awaits it.
func (s *Session) Show() Shown {
	if len(s.Payouts) == 0 {
		return Shown{Session: shown[s.State].Session}
	}
	live, awaiting, succeeded := 0, 0, false
	for i := range s.Payouts {
		p := &s.Payouts[i]
		switch v := p.Show(); {
		case !p.State.Final():
			live++
			if v.NextAction != "" {
				awaiting++
			}
		case v.Payout == "succeeded":
			succeeded = true
		}
	}
	switch {
	case live > 0 && live == awaiting:
		return Shown{Session: "in_progress", NextAction: "confirm"}
	case live > 0:
		return Shown{Session: "in_progress"}
	case succeeded:
		return Shown{Session: "accepted"}
	}
	return Shown{Session: "cancelled"}
}

// Settled reports whether the session as a whole has come to what the hook
// tells: all its payouts await confirmation, or all have ended and none of them
// waits for its receipt.
func (s *Session) Settled(h Hook) bool {
	switch h {
	case ReadyToConfirm:
		return s.Show().NextAction != ""
	case PaymentFinished:
		for i := range s.Payouts {
			p := &s.Payouts[i]
			if !p.State.Final() || p.Receipt != nil && p.Receipt.Withheld {
				return false
			}
		}
	}
	return true
}
