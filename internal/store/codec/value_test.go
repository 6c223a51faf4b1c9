package codec

import (
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/session"
)

func TestTimesComeBack(t *testing.T) {
	for _, row := range []struct {
		name string
		at   time.Time
		want int64
	}{
		{"no time", time.Time{}, 0},
		{"a microsecond", time.Date(2026, 7, 1, 12, 0, 0, 1000, time.UTC), 1782907200000001},
		{"before 1970", time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), -1_000_000},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Micros(row.at); got != row.want {
				t.Errorf("stored as %d, want %d", got, row.want)
			}
			if back := Instant(Micros(row.at)); back != row.at {
				t.Errorf("came back as %v, want %v", back, row.at)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"as it is", "Иван\n", "Иван\n"},
		{"broken UTF-8", "a\xffb", "a\uFFFDb"},
		{"the character zero", "a\x00b", "a\uFFFDb"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Plain(row.text); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestBrokenDocuments(t *testing.T) {
	for _, row := range []struct{ name, text string }{
		{"cut off", `{"amount":`},
		{"another type", `{"recipient":7}`},
		{"a list", `[]`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := DecodeDetails([]byte(row.text)); err == nil {
				t.Error("details were read")
			}
		})
	}
	if err := DecodeProgress([]byte(`{"fee":"much"}`), new(session.Payout)); err == nil {
		t.Error("progress was read")
	}
}
