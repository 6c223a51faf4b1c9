package rate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/money"
)

// noon is in the middle of the day whose rates the sample has.
var noon = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

type bench struct {
	*testing.T
	now  time.Time
	feed *Feed
}

func newBench(t *testing.T, place string) *bench {
	t.Helper()
	b := &bench{T: t, now: noon}
	f, err := NewFeed(FeedOptions{Place: place, Now: func() time.Time { return b.now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.feed = f
	return b
}

func (b *bench) want(price string) {
	b.Helper()
	r, err := b.feed.Rate(b.Context(), money.USD)
	if err != nil || r.Price.String() != price {
		b.Errorf("a dollar costs %s, %v; want %s", r.Price, err, price)
	}
}

func (b *bench) refused(want error) {
	b.Helper()
	if r, err := b.feed.Rate(b.Context(), money.USD); err == nil || want != nil && !errors.Is(err, want) {
		b.Errorf("a dollar costs %s, %v; want %v", r.Price, err, want)
	}
}

func published(date time.Time, price string) string {
	return fmt.Sprintf(`{"time":%q,"rates":{"usd":%q}}`, date.Format(time.RFC3339), price)
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFeedReadsAFileAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rates")
	b := newBench(t, file)
	b.refused(os.ErrNotExist)
	put(t, file, string(sample(t)))
	b.refused(nil) // it has looked a moment ago
	b.now = b.now.Add(retryGap)
	b.want("80.5")
	r, err := b.feed.Rate(t.Context(), money.EUR)
	if err != nil || r.Source != file || !r.At.Equal(time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", r, err)
	}

	put(t, file, published(b.now, "81"))
	b.want("80.5")
	b.now = b.now.Add(refreshGap)
	b.want("81")

	b.now = b.now.Add(refreshGap)
	put(t, file, published(noon, "70")) // older than what is at hand
	b.want("81")
	b.now = b.now.Add(refreshGap)
	put(t, file, published(b.now.Add(time.Hour), "90")) // of tomorrow
	b.want("81")
	b.now = b.now.Add(retryGap)
	put(t, file, "nothing that can be read")
	b.want("81")
	b.now = b.now.Add(AgeMaxDefault)
	b.refused(nil)
}

func TestFeedRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Time
		want error
	}{
		{"at the end of their age", noon.Add(-AgeMaxDefault), nil},
		{"a moment older", noon.Add(-AgeMaxDefault - time.Second), ErrStale},
		{"as of now", noon, nil},
		{"a moment too early", noon.Add(time.Second), ErrEarly},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "rates")
			put(t, file, published(tt.at, "80"))
			b := newBench(t, file)
			if tt.want == nil {
				b.want("80")
			} else {
				b.refused(tt.want)
			}
			if r, err := b.feed.Rate(t.Context(), money.EUR); err == nil || tt.want == nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("a euro costs %s, %v", r.Price, err)
			}
		})
	}
}

func TestFeedReadsAnAddress(t *testing.T) {
	answers := map[string]func(http.ResponseWriter){}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("date_req"))
		answers[r.URL.Path](w)
	}))
	t.Cleanup(server.Close)
	answers["/right"] = func(w http.ResponseWriter) { _, _ = w.Write(sample(t)) }
	answers["/failing"] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	answers["/endless"] = func(w http.ResponseWriter) { _, _ = w.Write([]byte(strings.Repeat(" ", documentBytesMax+1))) }

	b := newBench(t, server.URL+"/right?date_req={date}")
	b.now = time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC) // the day has begun in Moscow only
	b.want("80.5")
	if len(asked) != 1 || asked[0] != "02/03/2026" {
		t.Errorf("asked for %q", asked)
	}
	if r, _ := b.feed.Rate(t.Context(), money.USD); r.Source != "127.0.0.1" {
		t.Errorf("the source is called %q", r.Source)
	}

	for path, want := range map[string]string{"/failing": "502", "/endless": "more than"} {
		b := newBench(t, server.URL+path+"?key=secret")
		if _, err := b.feed.Rate(t.Context(), money.USD); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", path, err)
		}
	}
	gone := newBench(t, "http://127.0.0.1:1/right?key=secret")
	if _, err := gone.feed.Rate(t.Context(), money.USD); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a server that is gone: %v", err)
	}
}

func TestFeedWaitsNoLongerThanItsCaller(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "rates"))
	<-b.feed.turn // somebody else is reading
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.feed.Rate(ctx, money.USD); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNewFeedRefusesWhatIsNoAddress(t *testing.T) {
	for _, place := range []string{"https://", "http://%zz/{date}"} {
		if _, err := NewFeed(FeedOptions{Place: place}); err == nil {
			t.Errorf("%q is taken", place)
		}
	}
}
