package railtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/payoutd/payoutd/rail"
)

// returnMax bounds how long a rail may take to give a return again.
const returnMax = 30 * time.Second

// returnsAreGiven has a payment come back whose news is lost once, and wants to
// be told again of the same, after a restart too, and of nothing else.
func returnsAreGiven(t *testing.T, s *suite) {
	if _, ok := s.bare.(rail.Returner); !ok {
		t.Skip("no rail.Returner")
	}
	if s.Returned == nil {
		t.Fatal("the rail tells of returns and the harness makes none")
	}
	o := s.Pays.order()
	want(t, s.send(t, o, s.Pays.Open), rail.Succeeded)
	s.Returned(t, o.Reference)
	first := s.told(t, errors.New("the database is away"))
	if first.Payment != o.Reference || first.Amount != o.Amount {
		t.Errorf("the return is %+v, of a payment %s of %s", first, o.Reference, o.Amount)
	}
	if first.Reference == "" || len(first.Reference) > 64 || first.At.IsZero() || first.At.Location() != time.UTC {
		t.Errorf("the return is %+v: want a reference of 1 to 64 characters and a time in UTC", first)
	}
	if again := s.told(t, nil); again != first {
		t.Errorf("told again it is %+v, it was %+v", again, first)
	}
	s.restart(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	err := s.bare.(rail.Returner).Returns(ctx, func(_ context.Context, r rail.Return) error {
		if r != first { // the same again is allowed
			t.Errorf("told of %+v, which nobody has returned", r)
		}
		return nil
	})
	if err != nil {
		t.Errorf("Returns ends with its context and the error %v", err)
	}
}

// told waits for the next return, and answers it.
func (s *suite) told(t *testing.T, answer error) rail.Return {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), returnMax)
	defer cancel()
	var got rail.Return
	err := s.bare.(rail.Returner).Returns(ctx, func(_ context.Context, r rail.Return) error {
		if got == (rail.Return{}) {
			got = r
			cancel()
			return answer
		}
		return errors.New("nobody listens any more")
	})
	if err != nil || got == (rail.Return{}) {
		t.Fatalf("within %s the rail told of %+v, error %v", returnMax, got, err)
	}
	return got
}
