package tax

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The gaps between two questions for an answer.
const (
	gapFirst = 10 * time.Millisecond
	gapMax   = time.Second
)

// Call asks and waits for the answer, until ctx ends. An error leaves open what
// has become of the question; ErrPending is in it if the service has taken the
// question and not answered in time.
func Call(ctx context.Context, s Service, q Question) (Answer, error) {
	m, err := s.Ask(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	for gap := gapFirst; ; gap = min(2*gap, gapMax) {
		a, err := s.Answer(ctx, m)
		if !errors.Is(err, ErrPending) {
			return a, err
		}
		timer := time.NewTimer(gap)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Answer{}, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}
