package codec

import "github.com/payoutd/payoutd/internal/operator"

// The columns that the functions below read, in their order.
const (
	OperatorColumns = `o.name, o.role, o.password, o.created_at`
	LoginColumns    = `l.hash, l.operator, l.created_at, l.ends_at`
)

func ScanOperator(row Row) (operator.Operator, error) {
	var (
		o       operator.Operator
		created int64
	)
	err := row.Scan(&o.Name, &o.Role, &o.Password, &created)
	o.CreatedAt = Instant(created)
	return o, err
}

// LoginOf is a login with its operator.
type LoginOf struct {
	operator.Login
	Of operator.Operator
}

// ScanLogin reads LoginColumns and OperatorColumns.
func ScanLogin(row Row) (LoginOf, error) {
	var (
		l                     LoginOf
		hash                  []byte
		created, ends, joined int64
	)
	err := row.Scan(&hash, &l.Operator, &created, &ends, &l.Of.Name, &l.Of.Role, &l.Of.Password, &joined)
	copy(l.Hash[:], hash)
	l.CreatedAt, l.EndsAt, l.Of.CreatedAt = Instant(created), Instant(ends), Instant(joined)
	return l, err
}
