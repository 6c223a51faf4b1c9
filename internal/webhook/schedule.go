package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Schedule says when to try an undelivered event again: after First, then
// after twice the gap each time up to Longest, until Total has passed since
// the first attempt.
type Schedule struct {
	First   time.Duration
	Longest time.Duration
	Total   time.Duration
}

var (
	// Standard keeps trying for three days, so that a receiver may be down over
	// a weekend.
	Standard = Schedule{First: 15 * time.Second, Longest: 6 * time.Hour, Total: 72 * time.Hour}
	// Short is the reference's: growing gaps up to 15 minutes, given up after
	// 30 (wire reference, core §5.1).
	Short = Schedule{First: 15 * time.Second, Longest: 15 * time.Minute, Total: 30 * time.Minute}
)

// jitterPart is the part of a gap that jitter may take off. Less than a half,
// so that a doubled gap is longer than the one before whatever the jitter.
const jitterPart = 0.2

// retryAfterMax is the longest wait that a receiver may ask for.
const retryAfterMax = 6 * time.Hour

// Next says when to make the next attempt, and false when the event is given
// up. attempt is how many were made, 1 after the first; first is when that one
// began and now when the last one ended. retryAfter is what the receiver asked
// for, 0 for nothing: it lengthens the gap, but not above Longest. jitter is in
// [0, 1) and shortens the gap by up to a fifth, so that events which failed
// together do not come back together.
//
// The last attempt comes at the end of Total, even if the gap would be longer:
// nothing is given up early.
func (s Schedule) Next(attempt int, first, now time.Time, retryAfter time.Duration, jitter float64) (time.Time, bool) {
	end := first.Add(s.Total)
	if !now.Before(end) {
		return time.Time{}, false
	}
	gap := s.First
	for i := 1; i < attempt && gap < s.Longest; i++ {
		gap *= 2
	}
	gap = min(gap, s.Longest)
	gap -= time.Duration(jitter * jitterPart * float64(gap))
	gap = max(gap, min(retryAfter, s.Longest))
	if next := now.Add(gap); next.Before(end) {
		return next, true
	}
	return end, true
}

// parseRetryAfter reads the header Retry-After (RFC 9110 §10.2.3): seconds or
// an HTTP date. 0 for none, one in the past or one that can't be read; at most
// six hours.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(retryAfterMax/time.Second))) * time.Second
	}
	if isDigits(value) { // more than 64 bits hold
		return retryAfterMax
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), retryAfterMax)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
