package sqlite

import (
	"context"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	selectOperators = `SELECT ` + codec.OperatorColumns + ` FROM operators o ORDER BY o.name`
	selectOperator  = `SELECT ` + codec.OperatorColumns + ` FROM operators o WHERE o.name = ?`
	insertOperator  = `INSERT INTO operators (name, role, password, created_at) VALUES (?, ?, ?, ?)`
	updateOperator  = `UPDATE operators SET role = ?, password = ? WHERE name = ?`
	deleteOperator  = `DELETE FROM operators WHERE name = ?`
	insertLogin     = `INSERT INTO logins (hash, operator, created_at, ends_at) VALUES (?, ?, ?, ?)`
	selectLogin     = `SELECT ` + codec.LoginColumns + `, ` + codec.OperatorColumns + `
		FROM logins l JOIN operators o ON o.name = l.operator WHERE l.hash = ?`
	updateLogin  = `UPDATE logins SET ends_at = ? WHERE hash = ?`
	deleteLogin  = `DELETE FROM logins WHERE hash = ?`
	deleteLogins = `DELETE FROM logins WHERE operator = ?`
	sweepLogins  = `DELETE FROM logins WHERE ends_at <= ?`
)

// Operators implements store.Store.
func (s *Store) Operators(ctx context.Context) ([]operator.Operator, error) {
	rows, err := s.readers.QueryContext(ctx, selectOperators)
	found, err := codec.Collect(all(rows, err, codec.ScanOperator))
	if err != nil {
		return nil, s.failed(err, "read the operators")
	}
	return found, nil
}

// Operator implements store.Store.
func (s *Store) Operator(ctx context.Context, name string) (operator.Operator, error) {
	rows, err := s.readers.QueryContext(ctx, selectOperator, name)
	o, err := one(all(rows, err, codec.ScanOperator))
	if err != nil {
		return o, s.failed(err, "read the operator %s", name)
	}
	return o, nil
}

// AddOperator implements store.Store.
func (s *Store) AddOperator(ctx context.Context, o operator.Operator) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		_, err := s.writer.exec(insertOperator, o.Name, o.Role, o.Password, codec.Micros(o.CreatedAt))
		if code(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			err = fault.Wrap(fault.Invalid, err, "the operator %s exists", o.Name)
		}
		return true, err
	})
	if err != nil {
		return failed(err, "add the operator %s", o.Name)
	}
	return nil
}

// SetOperator implements store.Store; fault.NotFound if there is none.
func (s *Store) SetOperator(ctx context.Context, o operator.Operator) error {
	return s.changeOperator(ctx, o.Name, updateOperator, o.Role, o.Password, o.Name)
}

// RemoveOperator implements store.Store; fault.NotFound if there is none.
func (s *Store) RemoveOperator(ctx context.Context, name string) error {
	return s.changeOperator(ctx, name, deleteOperator, name)
}

func (s *Store) changeOperator(ctx context.Context, name, change string, args ...any) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		changed, err := s.writer.exec(change, args...)
		if err == nil && changed == 0 {
			err = fault.New(fault.NotFound, "no operator %s", name)
		}
		if err == nil {
			_, err = s.writer.exec(deleteLogins, name)
		}
		return true, err
	})
	if err != nil {
		return failed(err, "change the operator %s", name)
	}
	return nil
}

// AddLogin implements store.Store.
func (s *Store) AddLogin(ctx context.Context, l operator.Login, now time.Time) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		if _, err := s.writer.exec(sweepLogins, codec.Micros(now)); err != nil {
			return false, err
		}
		_, err := s.writer.exec(insertLogin, l.Hash[:], l.Operator, codec.Micros(l.CreatedAt), codec.Micros(l.EndsAt))
		return true, err
	})
	if err != nil {
		return failed(err, "add a login of %s", l.Operator)
	}
	return nil
}

// Login implements store.Store.
func (s *Store) Login(ctx context.Context, hash [32]byte) (operator.Login, operator.Operator, error) {
	rows, err := s.readers.QueryContext(ctx, selectLogin, hash[:])
	l, err := one(all(rows, err, codec.ScanLogin))
	if err != nil {
		return l.Login, l.Of, s.failed(err, "read a login")
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
	err := s.writer.transact(ctx, func() (bool, error) {
		_, err := s.writer.exec(change, args...)
		return true, err
	})
	if err != nil {
		return failed(err, "change a login")
	}
	return nil
}
