package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	selectOperators = `SELECT ` + codec.OperatorColumns + ` FROM operators o ORDER BY o.name`
	selectOperator  = `SELECT ` + codec.OperatorColumns + ` FROM operators o WHERE o.name = $1`
	insertOperator  = `INSERT INTO operators (name, role, password, created_at) VALUES ($1, $2, $3, $4)`
	updateOperator  = `UPDATE operators SET role = $1, password = $2 WHERE name = $3`
	deleteOperator  = `DELETE FROM operators WHERE name = $1`
	insertLogin     = `INSERT INTO logins (hash, operator, created_at, ends_at) VALUES ($1, $2, $3, $4)`
	selectLogin     = `SELECT ` + codec.LoginColumns + `, ` + codec.OperatorColumns + `
		FROM logins l JOIN operators o ON o.name = l.operator WHERE l.hash = $1`
	updateLogin  = `UPDATE logins SET ends_at = $1 WHERE hash = $2`
	deleteLogin  = `DELETE FROM logins WHERE hash = $1`
	deleteLogins = `DELETE FROM logins WHERE operator = $1`
	sweepLogins  = `DELETE FROM logins WHERE ends_at <= $1`
)

// Operators implements store.Store.
func (s *Store) Operators(ctx context.Context) ([]operator.Operator, error) {
	found, err := list(ctx, s, codec.ScanOperator, selectOperators)
	if err != nil {
		return nil, failed(err, "read the operators")
	}
	return found, nil
}

// Operator implements store.Store.
func (s *Store) Operator(ctx context.Context, name string) (o operator.Operator, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectOperator, name)
		o, err = one(all(rows, err, codec.ScanOperator))
		return err
	})
	if err != nil {
		return o, failed(err, "read the operator %s", name)
	}
	return o, nil
}

// AddOperator implements store.Store. On a broken connection it is tried again,
// and then finds what it has itself written: the same row.
func (s *Store) AddOperator(ctx context.Context, o operator.Operator) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, insertOperator, o.Name, string(o.Role), o.Password, codec.Micros(o.CreatedAt))
		if sqlState(err) != uniqueViolation {
			return err
		}
		rows, queryErr := conn.Query(ctx, selectOperator, o.Name)
		there, queryErr := one(all(rows, queryErr, codec.ScanOperator))
		if queryErr != nil || there.Password != o.Password { // salted, so no other has it
			return fault.Wrap(fault.Invalid, err, "the operator %s exists", o.Name)
		}
		return nil
	})
	if err != nil {
		return failed(err, "add the operator %s", o.Name)
	}
	return nil
}

// SetOperator implements store.Store; fault.NotFound if there is none.
func (s *Store) SetOperator(ctx context.Context, o operator.Operator) error {
	return s.changeOperator(ctx, o.Name, updateOperator, string(o.Role), o.Password, o.Name)
}

// RemoveOperator implements store.Store; fault.NotFound if there is none.
func (s *Store) RemoveOperator(ctx context.Context, name string) error {
	return s.changeOperator(ctx, name, deleteOperator, name)
}

func (s *Store) changeOperator(ctx context.Context, name, change string, args ...any) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			done, err := tx.Exec(ctx, change, args...)
			if err == nil && done.RowsAffected() == 0 {
				err = fault.New(fault.NotFound, "no operator %s", name)
			}
			if err == nil {
				_, err = tx.Exec(ctx, deleteLogins, name)
			}
			return err
		})
	})
	if err != nil {
		return failed(err, "change the operator %s", name)
	}
	return nil
}

// AddLogin implements store.Store.
func (s *Store) AddLogin(ctx context.Context, l operator.Login, now time.Time) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, sweepLogins, codec.Micros(now)); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, insertLogin+` ON CONFLICT (hash) DO NOTHING`, l.Hash[:], l.Operator, codec.Micros(l.CreatedAt), codec.Micros(l.EndsAt))
		return err
	})
	if err != nil {
		return failed(err, "add a login of %s", l.Operator)
	}
	return nil
}

// Login implements store.Store.
func (s *Store) Login(ctx context.Context, hash [32]byte) (operator.Login, operator.Operator, error) {
	var l codec.LoginOf
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectLogin, hash[:])
		l, err = one(all(rows, err, codec.ScanLogin))
		return err
	})
	if err != nil {
		return l.Login, l.Of, failed(err, "read a login")
	}
	return l.Login, l.Of, nil
}

// KeepLogin implements store.Store.
func (s *Store) KeepLogin(ctx context.Context, hash [32]byte, endsAt time.Time) error {
	return s.changeLogin(ctx, updateLogin, codec.Micros(endsAt), hash[:])
}

// EndLogin implements store.Store.
func (s *Store) EndLogin(ctx context.Context, hash [32]byte) error {
	return s.changeLogin(ctx, deleteLogin, hash[:])
}

func (s *Store) changeLogin(ctx context.Context, change string, args ...any) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, change, args...)
		return err
	})
	if err != nil {
		return failed(err, "change a login")
	}
	return nil
}
