package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// Fill implements store.Bulk. What each payout has goes by COPY, table by table;
// the books, whose revisions guard the whole, go last and commit.
func (s *Store) Fill(ctx context.Context, c *store.Changes) error {
	if len(c.TasksDone) > 0 {
		return fault.New(fault.Internal, "fill: tasks are to be removed, but nothing is there yet")
	}
	sessions, payouts, err := sessionRows(c.Sessions)
	if err != nil {
		return failed(err, "fill %s", s.name)
	}
	err = s.transact(ctx, func(t *transaction) error {
		b := t.begin()
		of := batch{home(c), c.Batch}
		b.Queue(insertBatch, of.project, of.id)
		if err := t.send(ctx, b); err != nil {
			return err
		}
		for _, part := range []struct {
			table, columns string
			rows           [][]any
		}{
			{"keys", codec.KeyColumns, column(c.Keys, codec.KeyRow)},
			{"sessions", codec.SessionColumns, sessions},
			{"payouts", codec.PayoutRowColumns, payouts},
			{"entries", codec.EntryColumns, column(c.Entries, codec.EntryRow)},
			{"attempts", codec.AttemptColumns, column(c.Attempts, codec.AttemptRow)},
			{"cards", codec.CardColumns, column(c.Cards, codec.CardRow)},
			{"events", codec.EventColumns, column(c.Events, codec.EventRow)},
			{"deliveries", codec.DeliveryColumns, column(c.Deliveries, codec.DeliveryRow)},
			{"tasks", codec.TaskColumns, column(c.Tasks, codec.TaskRow)},
			{"alarms", codec.AlarmColumns, column(c.Alarms, codec.AlarmRow)},
		} {
			if len(part.rows) == 0 {
				continue
			}
			if _, err := t.conn.CopyFrom(ctx, pgx.Identifier{part.table}, bare(part.columns), pgx.CopyFromRows(part.rows)); err != nil {
				return failed(err, "fill the table %s", part.table)
			}
		}
		b = new(pgx.Batch)
		writeBooks(b, c.Books)
		if err := writeAccounts(b, c.Accounts); err != nil {
			return err
		}
		writeClearing(b, c.Entries)
		writeMovements(b, c.Entries)
		if err := errors.Join(writeItems(b, c.Items), writePublic(b, c.Public), writeNPD(b, c.NPD)); err != nil {
			return err
		}
		writeActs(b, c.Acts)
		if err := writeStatements(b, c.Statements); err != nil {
			return err
		}
		writeLines(b, c.Lines)
		writeDifferences(b, c.Differences)
		writeIncomes(b, c.Incomes)
		writeReservations(b, c.Reservations)
		return t.commit(ctx, b, of)
	})
	if lost, ok := errors.AsType[*lostError](err); ok {
		return s.settle(lost)
	}
	if err != nil {
		return failed(err, "fill %s", s.name)
	}
	return nil
}

func sessionRows(list []*session.Session) (sessions, payouts [][]any, err error) {
	for _, s := range list {
		row, err := codec.SessionRow(s, 1)
		if err != nil {
			return nil, nil, err
		}
		sessions = append(sessions, row)
		for i := range s.Payouts {
			row, err := codec.PayoutRow(s, i)
			if err != nil {
				return nil, nil, err
			}
			payouts = append(payouts, row)
		}
	}
	return sessions, payouts, nil
}

// bare are the names in a list of columns, without the table's.
func bare(columns string) []string {
	names := strings.Split(columns, ", ")
	for i, name := range names {
		if _, after, ok := strings.Cut(name, "."); ok {
			names[i] = after
		}
	}
	return names
}
