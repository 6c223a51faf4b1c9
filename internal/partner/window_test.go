package partner

import (
	"testing"
	"time"
)

func TestLateReturn(t *testing.T) {
	const day = 24 * time.Hour
	friday := time.Date(2026, 7, 3, 12, 0, 0, 0, time.UTC)
	evening := time.Date(2026, 7, 3, 22, 0, 0, 0, time.UTC) // Saturday in Moscow
	for _, c := range []struct {
		name   string
		window time.Duration
		paid   time.Time
		back   time.Time
		late   bool
	}{
		{"at once", 0, friday, friday, false},
		{"before it was paid", 0, friday, friday.Add(-day), false},
		{"five days", 0, friday, friday.Add(5 * day), false},
		{"seven business days", 0, friday, friday.Add(11 * day), false}, // a week from Monday, and Tuesday
		{"a second more", 0, friday, friday.Add(11*day + time.Second), true},
		{"days begin in Moscow", 0, evening, evening.Add(10*day + time.Second), true},
		{"own window", 30 * day, friday, friday.Add(30 * day), false},
		{"a second more than that", 30 * day, friday, friday.Add(30*day + time.Second), true},
		{"own window that is shorter", time.Hour, friday, friday.Add(2 * time.Hour), true},
	} {
		p := Project{ReturnWindow: Duration(c.window)}
		if got := p.LateReturn(c.paid, c.back); got != c.late {
			t.Errorf("%s: late is %v, want %v", c.name, got, c.late)
		}
	}
}
