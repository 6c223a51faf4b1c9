package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	notify = `NOTIFY payoutd_work`
	listen = `LISTEN payoutd_work`
	// listenGap is how long to wait before listening again after the connection
	// was lost. Meanwhile nodes find what is due by looking.
	listenGap = time.Second
)

// Nudge implements store.Store. It stands in no transaction with anything else:
// the server lets transactions that notify commit one after the other.
func (s *Store) Nudge(ctx context.Context) error {
	err := s.on(ctx, s.readers, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, notify)
		return err
	})
	if err != nil {
		return failed(err, "nudge other nodes")
	}
	return nil
}

// Listen implements store.Store, on a connection of its own. Whenever that was
// made anew, something may have been missed.
func (s *Store) Listen(ctx context.Context, nudged func()) {
	for {
		if err := s.listen(ctx, nudged); ctx.Err() != nil || !s.pause(ctx, listenGap) {
			return
		} else if err != nil {
			s.log.WarnContext(ctx, "listening for nudges again", "error", err)
		}
	}
}

// listen ends with an error of the connection.
func (s *Store) listen(ctx context.Context, nudged func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.readers.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	limited, cancel := context.WithTimeout(ctx, s.answerMax)
	defer cancel()
	if _, err := conn.Exec(limited, listen); err != nil {
		return err
	}
	for {
		nudged()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
