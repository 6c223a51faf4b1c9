package store

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/operator"
)

// Operators is the part of the store that keeps who works in the console. It is
// the whole installation's.
type Operators interface {
	// Operators reads all operators by name.
	Operators(ctx context.Context) ([]operator.Operator, error)
	// Operator reads one.
	Operator(ctx context.Context, name string) (operator.Operator, error)
	// AddOperator adds one; fault.Invalid if the name is taken.
	AddOperator(ctx context.Context, o operator.Operator) error
	// SetOperator gives one another role and password, and ends all logins under
	// the name.
	SetOperator(ctx context.Context, o operator.Operator) error
	// RemoveOperator removes one, with all logins under the name.
	RemoveOperator(ctx context.Context, name string) error

	// AddLogin adds a login of an operator, and removes those that have ended at
	// now.
	AddLogin(ctx context.Context, l operator.Login, now time.Time) error
	// Login reads the login with a hash and its operator, as it is now.
	Login(ctx context.Context, hash [32]byte) (operator.Login, operator.Operator, error)
	// KeepLogin changes when a login ends; one that is not there is no error.
	KeepLogin(ctx context.Context, hash [32]byte, endsAt time.Time) error
	// EndLogin removes a login; one that is not there is no error.
	EndLogin(ctx context.Context, hash [32]byte) error
}
