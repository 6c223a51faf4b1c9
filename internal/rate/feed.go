package rate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/payoutd/payoutd/money"
)

const (
	// AgeMaxDefault lets rates of a Saturday hold until the Tuesday's are out,
	// and through a holiday beside the weekend. Longer holidays, such as the
	// first days of January, are for the operator to allow.
	AgeMaxDefault = 96 * time.Hour

	refreshGap       = 10 * time.Minute // between two looks at a source that answers
	retryGap         = 10 * time.Second // after one that failed
	fetchTimeout     = 5 * time.Second
	documentBytesMax = 1 << 20
)

// datePlaceholder stands in a URL for today's date in Moscow, dd/mm/yyyy, as
// the Bank of Russia's XML_daily.asp takes it in date_req. Without it, that
// address may answer with tomorrow's rates.
const datePlaceholder = "{date}"

// Feed is a source that reads a file or a URL again and again. What it has read
// serves until it is older than AgeMax, however often the source fails meanwhile.
type Feed struct {
	place  string
	name   string
	ageMax time.Duration
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	turn chan struct{} // holds one token while nobody reads or changes the rest
	last document
	next time.Time // when to look again
}

// FeedOptions are what a feed is made of.
type FeedOptions struct {
	// Place is a file, or a URL with http or https in which {date} stands for
	// today's date in Moscow.
	Place  string
	AgeMax time.Duration // 0 means AgeMaxDefault
	Now    func() time.Time
	Log    *slog.Logger
}

// NewFeed makes a feed; nothing is read before the first question. An error if
// Place names a URL that can't be one.
func NewFeed(o FeedOptions) (*Feed, error) {
	f := &Feed{
		place: o.Place, name: o.Place, ageMax: o.AgeMax, now: o.Now, log: o.Log, turn: make(chan struct{}, 1),
		client: &http.Client{Timeout: fetchTimeout},
	}
	if f.ageMax == 0 {
		f.ageMax = AgeMaxDefault
	}
	if f.remote() {
		u, err := url.Parse(f.at(time.Time{}))
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("rates: %q is no address", o.Place)
		}
		f.name = u.Hostname() // what follows may hold a secret
	}
	f.turn <- struct{}{}
	return f, nil
}

func (f *Feed) remote() bool {
	return strings.HasPrefix(f.place, "https://") || strings.HasPrefix(f.place, "http://")
}

// at is the place with a date put into it.
func (f *Feed) at(now time.Time) string {
	return strings.ReplaceAll(f.place, datePlaceholder, url.QueryEscape(now.In(moscow).Format("02/01/2006")))
}

// Rate is the newest rate that the source has published, after a look at the
// source if the last one was a while ago. ErrStale and ErrEarly if it does not
// hold now.
func (f *Feed) Rate(ctx context.Context, c money.Currency) (Rate, error) {
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return Rate{}, ctx.Err()
	}
	now := f.now()
	var failed error
	if !now.Before(f.next) {
		failed = f.refresh(ctx, now)
	}
	switch {
	case f.last.prices == nil && failed != nil:
		return Rate{}, failed
	case f.last.prices == nil:
		return Rate{}, fmt.Errorf("rates of %s: none could be read yet", f.name)
	case now.Sub(f.last.at) > f.ageMax:
		return Rate{}, fmt.Errorf("rates of %s for %s: %w", f.name, f.last.at.In(moscow).Format(time.DateOnly), ErrStale)
	}
	p, ok := f.last.prices[c]
	if !ok {
		return Rate{}, fmt.Errorf("%s: %w", f.name, ErrUnknown)
	}
	return Rate{Price: p, Source: f.name, At: f.last.at}, nil
}

// refresh reads the source. A document that does not hold yet, or is older than
// the one at hand, leaves that one in place.
func (f *Feed) refresh(ctx context.Context, now time.Time) error {
	read, err := f.read(ctx, now)
	if err == nil && read.at.After(now) {
		err = fmt.Errorf("rates of %s for %s: %w", f.name, read.at.In(moscow).Format(time.DateOnly), ErrEarly)
	}
	if err != nil {
		f.next = now.Add(retryGap)
		f.log.Warn("reading the rates", "source", f.name, "error", err)
		return err
	}
	f.next = now.Add(refreshGap)
	if !read.at.Before(f.last.at) {
		f.last = read
	}
	return nil
}

func (f *Feed) read(ctx context.Context, now time.Time) (document, error) {
	open := f.open
	if f.remote() {
		open = f.fetch
	}
	body, err := open(ctx, now)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, documentBytesMax+1))
	switch {
	case err != nil:
		return document{}, fmt.Errorf("rates of %s: %w", f.name, err)
	case len(b) > documentBytesMax:
		return document{}, fmt.Errorf("rates of %s: more than %d bytes", f.name, documentBytesMax)
	}
	return parse(b)
}

func (f *Feed) open(context.Context, time.Time) (io.ReadCloser, error) { return os.Open(f.place) }

func (f *Feed) fetch(ctx context.Context, now time.Time) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.at(now), nil)
	if err != nil {
		return nil, fmt.Errorf("rates of %s: no address", f.name)
	}
	response, err := f.client.Do(request)
	if err != nil {
		if at, ok := errors.AsType[*url.Error](err); ok {
			err = at.Err // the rest repeats the address
		}
		return nil, fmt.Errorf("rates of %s: %w", f.name, err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("rates of %s: answered %s", f.name, response.Status)
	}
	return response.Body, nil
}
