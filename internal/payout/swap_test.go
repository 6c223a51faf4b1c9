package payout

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/vault"
)

// Whoever exchanges what is sealed in two rows sends nobody's money elsewhere:
// a check finds both payouts, and no rail gets a number for either.
func TestSwappedRowsDoNotOpen(t *testing.T) {
	byToken := func(kind vault.Kind) func(*lab) [2]string {
		return func(l *lab) (bodies [2]string) {
			project := l.call().Project
			for n := range bodies {
				var (
					item  vault.Item
					token vault.Token
					err   error
				)
				if kind == vault.AccountToken {
					item, token, err = l.engine.newAccount(project, accountBIK, accountNumber[:19]+fmt.Sprint(n))
				} else {
					item, token, err = l.engine.newCard(project, kind, []instrument.PAN{cardNumber, otherCard}[n])
				}
				if err == nil {
					_, err = l.engine.do(l.Context(), &issue{items: []vault.Item{item}})
				}
				if err != nil {
					l.Fatal(err)
				}
				bodies[n] = tokenBody(kind, token)
			}
			return bodies
		}
	}
	for _, c := range []struct {
		name   string
		table  string
		bodies func(*lab) [2]string
	}{
		{"cards", "cards", func(*lab) [2]string {
			return [2]string{cardBody(100_00), strings.Replace(cardBody(100_00), cardNumber, otherCard, 1)}
		}},
		{"hashes of cards", "items", byToken(vault.CardHash)},
		{"tokens of cards", "items", byToken(vault.CardToken)},
		{"recurrent tokens", "items", byToken(vault.RecurrentToken)},
		{"tokens of accounts", "items", byToken(vault.AccountToken)},
	} {
		for _, columns := range [][]string{{"ciphertext"}, {"fingerprint"}, {"ciphertext", "fingerprint"}} {
			t.Run(c.name+", "+strings.Join(columns, " and "), func(t *testing.T) {
				l := newLab(t)
				l.start()
				var sessions []id.Session
				for _, body := range c.bodies(l) {
					s := l.init(body)
					l.receive(session.ReadyToConfirm, s)
					sessions = append(sessions, s)
				}
				l.clean()
				l.close()
				for _, column := range columns {
					l.sql(fmt.Sprintf("CREATE TABLE swap AS SELECT id, %[1]s AS sealed FROM %[2]s; "+
						"UPDATE %[2]s SET %[1]s = (SELECT sealed FROM swap WHERE swap.id <> %[2]s.id); DROP TABLE swap", column, c.table))
				}
				l.open()
				r, err := l.engine.Check(t.Context())
				if err != nil || len(r.Problems) != 2 || strings.Count(strings.Join(r.Problems, "\n"), "does not open") != 2 {
					t.Errorf("problems %q, error %v; want both payouts found", r.Problems, err)
				}
				for _, s := range sessions {
					to := l.session(s).Payouts[0].Details.Instrument
					open := l.engine.opener(l.project, to)
					if key := token(to); key.Token != 0 {
						open = func(ctx context.Context) ([]byte, error) { return l.engine.content(ctx, key.Partner, key.Token) }
					}
					if content, err := open(t.Context()); err == nil {
						t.Errorf("a rail gets %q", content)
					}
				}
			})
		}
	}
}
