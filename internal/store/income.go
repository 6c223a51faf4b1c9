package store

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/id"
)

// Incomes is the part of the store that counts what self-employed people earn.
// It is the one part that lies by person and not by project: the law limits what
// somebody earns in a year, whoever pays. Its rows are written by Commit, in
// commands that name no other row.
type Incomes interface {
	// Income reads what is counted for a person in a year, without waiting for
	// any Commit.
	Income(ctx context.Context, k IncomeKey) (Income, error)
	// Reservations reads those whose income was earned from a time on and before
	// another, by INN, Year and Payout.
	Reservations(ctx context.Context, from, to time.Time) ([]Reservation, error)
}

// IncomeKey names a person in a calendar year in Moscow.
type IncomeKey struct {
	INN  string
	Year int
}

// Income is the sum of the reservations of a person and a year, in kopecks.
type Income struct {
	IncomeKey
	Held int64 // what is ReservationHeld
	// Asked is what is ReservationAsked: the tax service may count it or not.
	Asked int64
	// Registered is what is ReservationRegistered, or was: it never falls.
	Registered int64
	Revision   int64
}

// ReservationKey names what one payout has reserved of a person's yearly limit.
type ReservationKey struct {
	IncomeKey
	Payout id.Payout
}

// Reservation is what one payout has reserved of a person's yearly limit. Its row
// stays for ever, so that what comes twice, or too late, is known to be done.
type Reservation struct {
	ReservationKey
	Project id.Project
	Session id.Session
	Minor   int64
	State   ReservationState
	// EarnedAt is when the person got the money; zero before the tax service was
	// asked to register it.
	EarnedAt time.Time
	Receipt  string // at the tax service; "" before it was registered
}

// ReservationState is how a reservation counts.
type ReservationState string

// The states.
const (
	ReservationHeld       ReservationState = "held"       // the income is to come
	ReservationAsked      ReservationState = "asked"      // the tax service was asked to register it
	ReservationRegistered ReservationState = "registered" // the tax service counts it
	ReservationAnnulled   ReservationState = "annulled"   // the receipt was cancelled; the tax service counts it no more
	ReservationReleased   ReservationState = "released"   // it counts no more, and never did at the tax service
)
