package codec

import (
	"reflect"
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

// FuzzRecord reads any text as the record of an archived session. What is one is
// written again as a record of the same.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"sessions":[{"project":"acme","id":7,"version":2,"state":"failed","draft":"{}","events":0,"fence":0,"revision":1,` +
		`"created_at":1772442904120031,"updated_at":1772442904120031}],"payouts":[],"events":[],"deliveries":[]}`))
	f.Add([]byte(`{"sessions":[{"project":7}],"payouts":[{"id":9223372036854775808}],"events":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := ReadRecord(text)
		if err != nil {
			return
		}
		again, err := ReadRecord(one.Record)
		if err != nil || !reflect.DeepEqual(again, one) {
			t.Errorf("%s became %s: %v", text, one.Record, err)
		}
	})
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
