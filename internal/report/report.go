// Package report makes the daily payout report of a project: the successful
// payouts of one day in Moscow and what came back on it (wire reference,
// extensions §7.5), as CSV or XLSX, and a schedule that writes yesterday's to a
// folder.
//
// A row belongs to the day of its entry in the ledger: a settlement is a payout
// that was paid, a return is a refund. So the sums of a report are those of the
// ledger, and no report changes once its day is over.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sort"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/money"
)

// Source is what reports are read from: the part of a store.Store that does it.
type Source interface {
	Projects(ctx context.Context) ([]partner.Project, error)
	Book(ctx context.Context, p id.Project) (*ledger.Book, error)
	Entries(ctx context.Context, p id.Project, after int64, limit int) ([]ledger.Entry, error)
	SessionsByID(ctx context.Context, p id.Project, sessions []id.Session) ([]*session.Session, error)
	Item(ctx context.Context, k store.ItemKey) (vault.Item, error)
}

// Type is the kind of a row, in the wire's words.
type Type string

// The types.
const (
	Advice Type = "Advice" // a payout
	Refund Type = "Refund" // a payout that came back
)

// Row is one operation. Amounts are kopecks, above zero in a refund as well:
// its type says which way the money went.
type Row struct {
	Payout    id.Payout
	Session   id.Session
	Refund    id.Refund // 0 in a payout's
	Type      Type
	StartedAt time.Time // when the payout was asked for; of a refund, when the money came back
	BookedAt  time.Time
	Fast      bool   // urgent, by BESP
	Contract  string // number of the partner's contract; "" if nobody has set it
	Metadata  json.RawMessage
	Identity  string // masked
	Product   instrument.Kind
	Payment   int64
	Fees      int64
	// Original is what was asked for in a foreign currency, with its price in
	// roubles; nil and "" for roubles.
	Original *money.Amount
	Rate     string
	RRN      string // the rail's reference number; "" if it named none
	Account  string // the project's own account that it is of; "" for the wallet
}

// pageEntries is how many entries, with their sessions, are in memory.
var pageEntries = 500

// skewMax is how much later an entry may be dated than one with a higher number:
// nodes' clocks differ, and are set. It costs reading so much more on both sides
// of the day.
const skewMax = time.Hour

// Rows reads the report of one day in the order of booking. An error ends it as
// the last pair. It holds nothing open between two pages, so a slow reader is in
// nobody's way.
//
// The day is found by halving: entries are numbered in the order in which they
// were booked, and their times follow it up to skewMax. So a report costs as
// much as its day, however long the history.
func Rows(ctx context.Context, s Source, p *partner.Project, d Day) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		after, err := Before(ctx, s, p.ID, d.Start().Add(-skewMax))
		for err == nil {
			var page []ledger.Entry
			if page, err = s.Entries(ctx, p.ID, after, pageEntries); err != nil {
				break
			}
			var rows []Row
			if rows, err = pageRows(ctx, s, p, d, page); err != nil {
				break
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
			if len(page) < pageEntries || !page[len(page)-1].At.Before((d + 1).Start().Add(skewMax)) {
				return
			}
			after = page[len(page)-1].No
		}
		yield(Row{}, fmt.Errorf("the report of %s for %s: %w", d, p.ID, err))
	}
}

// Before finds the last entry of those that are older than t, up to the clocks of
// nodes; 0 if there is none.
func Before(ctx context.Context, s Source, p id.Project, t time.Time) (int64, error) {
	book, err := s.Book(ctx, p)
	if err != nil {
		return 0, err
	}
	n := sort.Search(int(book.Entries), func(i int) bool {
		if err != nil {
			return true
		}
		var page []ledger.Entry
		if page, err = s.Entries(ctx, p, int64(i), 1); err == nil && len(page) == 0 {
			err = fault.New(fault.Internal, "the entry %d is missing", i+1)
		}
		return err != nil || !page[0].At.Before(t)
	})
	return int64(n), err
}

// pageRows makes the rows of those entries that belong to the day.
func pageRows(ctx context.Context, s Source, p *partner.Project, d Day, page []ledger.Entry) ([]Row, error) {
	var entries []ledger.Entry
	var names []id.Session
	for _, e := range page {
		if (e.Kind == ledger.KindSettle || e.Kind == ledger.KindReturn) && DayOf(e.At) == d {
			entries, names = append(entries, e), append(names, e.Session)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	sessions, err := s.SessionsByID(ctx, p.ID, names)
	if err != nil {
		return nil, err
	}
	payouts := map[id.Payout]*session.Payout{}
	for _, s := range sessions {
		for i := range s.Payouts {
			payouts[s.Payouts[i].ID] = &s.Payouts[i]
		}
	}
	var rows []Row
	for _, e := range entries {
		payout, ok := payouts[e.Payout]
		if !ok {
			return nil, fault.New(fault.WrongState, "payouts of this day are archived, such as %s: there is no report of it any more", e.Payout)
		}
		r, err := rowOf(e, payout)
		if err != nil {
			return nil, err
		}
		r.Contract = p.Contract
		if a := payout.Details.Instrument.Account; a != nil && a.Number == "" {
			item, err := s.Item(ctx, store.ItemKey{Partner: a.Partner, Token: a.Sealed})
			if err != nil && fault.CodeOf(err) != fault.NotFound {
				return nil, err
			}
			r.Identity = item.Shown.Masked
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// rowOf is what an entry and its payout say. The amounts are the entry's.
func rowOf(e ledger.Entry, p *session.Payout) (Row, error) {
	i := p.Details.Instrument
	if i == nil {
		return Row{}, fault.New(fault.Internal, "entry %d is of %s, which goes nowhere", e.No, p.ID)
	}
	r := Row{
		Payout: p.ID, Session: e.Session, Type: Advice, StartedAt: p.CreatedAt, BookedAt: e.At,
		Fast: i.Account != nil && i.Account.Fast, Metadata: p.Details.Metadata, Identity: Masked(i), Product: i.Kind(),
		Payment: e.Change.Clearing, Fees: e.Change.Fees, RRN: p.Info.RRN, Account: e.Account,
	}
	if p.Quote != nil {
		r.Original, r.Rate = p.Details.Amount, p.Quote.Rate.Price.String()
	}
	if e.Kind == ledger.KindReturn {
		back := p.Refund()
		if back == nil {
			return Row{}, fault.New(fault.Internal, "entry %d gives %s back, which has no refund", e.No, p.ID)
		}
		r.Type, r.Refund, r.StartedAt = Refund, back.ID, back.At
		r.Payment, r.Fees = -r.Payment, -r.Fees
	}
	return r, nil
}

// Masked is what may be shown of where a payout goes: the last four digits of a
// card (wire reference, extensions §8 no. 7), and of the rest as of accounts.
// That of an account that was named by a token stands in the vault.
func Masked(i *instrument.Instrument) string {
	middle := func(first int, number string) string {
		if len(number) < first+4 {
			return "" // also that of a token
		}
		return number[:first] + "***" + number[len(number)-4:]
	}
	switch {
	case i.Card != nil:
		return "****" + i.Card.Last4
	case i.Account != nil:
		return middle(5, i.Account.Number)
	case i.FPS != nil:
		return middle(4, i.FPS.Phone)
	case i.Wallet != nil:
		return middle(5, i.Wallet.Account)
	}
	return ""
}
