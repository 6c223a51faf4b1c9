package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/payoutd/payoutd/internal/fault"
)

// Codes of the server (PostgreSQL documentation, appendix A).
const (
	warning           = "01000"
	uniqueViolation   = "23505"
	checkViolation    = "23514"
	divisionByZero    = "22012" // what a guard fails with
	badEncoding       = "22021"
	badText           = "22P05"
	notAllowed        = "42501"
	undefinedTable    = "42P01"
	unserializable    = "40001"
	deadlock          = "40P01"
	readOnly          = "25006"
	idleTooLong       = "25P03"
	lockNotAvailable  = "55P03"
	queryCanceled     = "57014"
	adminShutdown     = "57P01"
	crashShutdown     = "57P02"
	cannotConnectNow  = "57P03"
	databaseDropped   = "57P04"
	idleSession       = "57P05"
	ioError           = "58030"
	connectionClass   = "08"
	insufficientClass = "53" // disk, memory, connections
)

// failed maps an error of the driver by the server's code; what was being done
// goes with it. An error that has a fault already keeps it.
func failed(err error, format string, args ...any) error {
	doing := fmt.Sprintf(format, args...)
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fault.Wrap(fault.NotFound, err, "%s: not found", doing)
	case busy(err):
		return fault.Wrap(fault.Busy, err, "%s", doing)
	case sqlState(err) == badEncoding, sqlState(err) == badText:
		return fault.Wrap(fault.Invalid, err, "%s: a text has characters that the database can't hold", doing)
	}
	return fault.Wrap(fault.Internal, err, "%s", doing)
}

// busy reports whether the same may succeed later, without anybody's changing
// the program or the schema.
func busy(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errClosed) {
		return true
	}
	switch state := sqlState(err); state {
	case unserializable, deadlock, readOnly, idleTooLong, lockNotAvailable, queryCanceled, adminShutdown, crashShutdown,
		cannotConnectNow, databaseDropped, idleSession, ioError:
		return true
	case "":
		_, broken := errors.AsType[*brokenError](err)
		_, unconnected := errors.AsType[*pgconn.ConnectError](err)
		return broken || unconnected
	default:
		return state[:2] == connectionClass || state[:2] == insufficientClass
	}
}

// passing reports whether the transaction was ended by nobody's fault and may
// be run again at once.
func passing(err error) bool {
	if _, broken := errors.AsType[*brokenError](err); broken {
		// A wrong password is no better the next time, and nobody waits twice for
		// a server that does not answer.
		return busy(err) && !errors.Is(err, context.DeadlineExceeded)
	}
	return sqlState(err) == unserializable || sqlState(err) == deadlock
}

// outrun reports whether another node may have come first: it has burnt the
// key that was free, or moved the revision that was read.
func outrun(err error) bool {
	return passing(err) || sqlState(err) == uniqueViolation || sqlState(err) == divisionByZero
}
