package report

import (
	"time"

	"github.com/payoutd/payoutd/internal/fault"
)

// Moscow is the time of reports; it has been three hours ahead of UTC since
// 2014, and needs no time zone database.
var Moscow = time.FixedZone("MSK", 3*60*60)

// Day is a calendar day in Moscow: days since 1 January 1970 there.
type Day int64

// DayOf is the day that t belongs to.
func DayOf(t time.Time) Day {
	y, m, d := t.In(Moscow).Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// ParseDay reads "2026-11-27"; fault.Invalid if it is no such date.
func ParseDay(s string) (Day, error) {
	t, err := time.ParseInLocation(time.DateOnly, s, Moscow)
	if err != nil {
		return 0, fault.Wrap(fault.Invalid, err, "date: want a day such as 2026-11-27, not %q", s)
	}
	return DayOf(t), nil
}

// Start is its first moment. The last is before Start of the next.
func (d Day) Start() time.Time {
	return time.Unix(int64(d)*24*60*60, 0).In(Moscow).Add(-3 * time.Hour)
}

func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// MarshalText writes the form of String.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the reverse.
func (d *Day) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDay(string(b))
	return err
}
