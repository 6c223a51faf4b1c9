package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
)

// The examples of the wire reference, core §1.5, §3 and §5.3: what its requests
// say, shown in the state of its answers, is those answers byte for byte but
// for the white space. Of the webhooks, paid has net and gross beside the
// example's fee, and ready_account lacks the confirm_information of settlement
// accounts.
func TestReferenceExamples(t *testing.T) {
	start := func(t *testing.T) session.Details { return parsed(t, OpStart, 1, "start.request") }
	awaiting := func(t *testing.T) *session.Session {
		return exampleSession(7300451, "09:15:04.120031", "09:15:11.377002", session.Payout{
			ID: 4100982, State: session.Awaiting, Details: start(t), CreatedAt: at("09:15:09.790225"),
		})
	}
	tests := []struct {
		name    string
		version session.Version
		project *partner.Project
		hook    session.Hook // "" for an answer
		session func(*testing.T) *session.Session
		want    string
	}{
		{name: "created", version: 1, want: "created.answer", session: func(t *testing.T) *session.Session {
			s := exampleSession(7300451, "09:15:04.120031", "09:15:04.120031")
			s.Draft = parsed(t, OpCreate, 1, "create.request")
			return s
		}},
		{name: "started, v1", version: 1, want: "start_v1.answer", session: func(t *testing.T) *session.Session {
			s := awaiting(t)
			s.UpdatedAt, s.Payouts[0].State = at("09:15:09.803417"), session.Checking
			return s
		}},
		{name: "started, v2", version: 2, want: "start_v2.answer", session: func(t *testing.T) *session.Session {
			s := awaiting(t)
			s.UpdatedAt, s.Payouts[0].State = at("09:15:09.803417"), session.Checking
			return s
		}},
		{name: "account, init", version: 2, want: "init.answer", session: func(t *testing.T) *session.Session {
			return exampleSession(7300466, "10:00:00.004511", "10:00:00.118930", session.Payout{
				ID: 4101007, State: session.Checking, Details: parsed(t, OpInit, 2, "init.request"), CreatedAt: at("10:00:00.101764"),
			})
		}},
		{name: "awaits confirmation", version: 1, want: "awaiting.answer", session: awaiting},
		{name: "confirmed", version: 1, want: "confirmed.answer", session: func(t *testing.T) *session.Session {
			s := awaiting(t)
			s.UpdatedAt, s.Payouts[0].State = at("09:15:40.550918"), session.Confirmed
			return s
		}},
		{name: "verification", version: 1, want: "verification.answer", session: func(t *testing.T) *session.Session {
			return exampleSession(7300510, "11:30:00.000913", "11:30:00.220187", session.Payout{
				ID: 4101040, State: session.Checking, Details: parsed(t, OpVerify, 1, "verification.request"), CreatedAt: at("11:30:00.204502"),
			})
		}},
		{name: "webhook, ready", version: 1, hook: session.ReadyToConfirm, want: "ready.hook", session: awaiting},
		{name: "webhook, account ready", version: 1, hook: session.ReadyToConfirm, want: "ready_account.hook", session: func(t *testing.T) *session.Session {
			return exampleSession(7300502, "11:02:00.000201", "11:02:03.410222", session.Payout{
				ID: 4101021, State: session.Awaiting, Details: parsed(t, OpStart, 1, "account.request"), CreatedAt: at("11:02:01.007730"),
			})
		}},
		{name: "webhook, paid", version: 2, project: &partner.Project{ShowFees: true}, hook: session.PaymentFinished, want: "paid.hook", session: func(t *testing.T) *session.Session {
			s := awaiting(t)
			s.UpdatedAt = at("09:15:44.902640")
			p := &s.Payouts[0]
			p.State, p.Fee, p.FinishedAt = session.Paid, 3675, at("09:15:44.871105")
			p.Info = session.TransactionInfo{RRN: "606109131310", AuthCode: "131A07"}
			return s
		}},
		{name: "webhook, declined", version: 1, hook: session.PaymentFinished, want: "declined.hook", session: func(t *testing.T) *session.Session {
			d := start(t)
			d.Customer, d.Metadata, d.Amount.Minor = nil, nil, 99000
			return exampleSession(7300460, "09:40:00.000131", "09:40:31.771845", session.Payout{
				ID: 4100995, State: session.Failed, Details: d, CreatedAt: at("09:40:02.318800"), FinishedAt: at("09:40:31.760019"),
				Failure: &session.Failure{Code: "declined_by_issuer_bank", Text: "The operation was declined by the card issuer"},
			})
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Answer(test.session(t), test.version, test.project)
			if test.hook != "" {
				got = Hook(test.hook, test.session(t), test.version, test.project)
			}
			wantBytes(t, got, compact(t, test.want))
		})
	}
}

func TestReferenceEnvelopes(t *testing.T) {
	wantBytes(t, Error(fault.Invalid, "amount_details.amount: must be greater than 0"), compact(t, "invalid.answer"))
	wantBytes(t, Error(fault.WrongState, "session ps_7300451 does not await confirmation"), compact(t, "wrong_state.answer"))
	wantBytes(t, Balance("4471", 905432100), compact(t, "balance.answer"))
}

func TestReferenceRequestsWithoutDetails(t *testing.T) {
	r, err := Parse(OpConfirm, 1, nil, example(t, "confirm.request"))
	if err != nil || r.Session != 7300502 {
		t.Errorf("confirm with confirm_information: %v, %v", r.Session, err)
	}
	if _, err := Parse(OpBalance, 1, nil, example(t, "balance.request")); err != nil {
		t.Errorf("balance: %v", err)
	}
}

func exampleSession(number id.Session, created, updated string, payouts ...session.Payout) *session.Session {
	s := &session.Session{ID: number, State: session.Created, Payouts: payouts, CreatedAt: at(created), UpdatedAt: at(updated)}
	if len(payouts) > 0 {
		s.State = payouts[0].State
	}
	return s
}

// at is a time of the day of the examples, in another zone than UTC: answers
// must not depend on it.
func at(clock string) time.Time {
	when, err := time.Parse(time.RFC3339Nano, "2026-03-02T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return when.In(time.FixedZone("MSK", 3*60*60))
}

func parsed(t *testing.T, op Op, v session.Version, name string) session.Details {
	t.Helper()
	r, err := Parse(op, v, nil, example(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r.Details
}

func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "reference", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compact(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, example(t, name)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wantBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
