package postgres

import (
	stdjson "encoding/json"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

// micros is how a time is stored: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant is the reverse of micros.
func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// blob is what a bytea column that takes no NULL is written with.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// plain is a text of somebody else's in a form that the database takes: it
// holds neither broken UTF-8 nor the character zero.
func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// details is the stored form of session.Details. What the partner sent stands
// in strings, because JSON within JSON would be written anew and lose its bytes.
type details struct {
	Instrument   *instrument.Instrument `json:"instrument,omitzero"`
	Amount       *money.Amount          `json:"amount,omitzero"`
	Recipient    string                 `json:"recipient,omitzero"`
	Participants string                 `json:"participants,omitzero"`
	Customer     string                 `json:"customer,omitzero"`
	Metadata     string                 `json:"metadata,omitzero"`
}

// encodeDetails returns "" for details that say nothing.
func encodeDetails(d session.Details) (string, error) {
	doc := details{
		Instrument:   d.Instrument,
		Amount:       d.Amount,
		Recipient:    d.Recipient,
		Participants: string(d.Participants),
		Customer:     string(d.Customer),
		Metadata:     string(d.Metadata),
	}
	if doc == (details{}) {
		return "", nil
	}
	b, err := json.Marshal(&doc)
	return string(b), err
}

func decodeDetails(text []byte) (session.Details, error) {
	if len(text) == 0 {
		return session.Details{}, nil
	}
	var doc details
	if err := json.Unmarshal(text, &doc); err != nil {
		return session.Details{}, err
	}
	return session.Details{
		Instrument:   doc.Instrument,
		Amount:       doc.Amount,
		Recipient:    doc.Recipient,
		Participants: raw(doc.Participants),
		Customer:     raw(doc.Customer),
		Metadata:     raw(doc.Metadata),
	}, nil
}

func raw(s string) stdjson.RawMessage {
	if s == "" {
		return nil
	}
	return stdjson.RawMessage(s)
}

// progress is the stored form of what changes in a payout, but for its state.
// A new member of session.Payout that changes goes here and into the two
// functions below; rows written before lack it and read as zero.
type progress struct {
	Fee        int64                   `json:"fee,omitzero"`
	Rail       string                  `json:"rail,omitzero"`
	Reference  string                  `json:"reference,omitzero"`
	Attempt    int                     `json:"attempt,omitzero"`
	NeverSeen  int                     `json:"never_seen,omitzero"`
	Info       session.TransactionInfo `json:"info,omitzero"`
	Failure    *session.Failure        `json:"failure,omitzero"`
	SentAt     int64                   `json:"sent_at,omitzero"`
	FinishedAt int64                   `json:"finished_at,omitzero"`
}

func encodeProgress(p *session.Payout) (string, error) {
	b, err := json.Marshal(&progress{
		Fee:        p.Fee,
		Rail:       p.Rail,
		Reference:  p.Reference,
		Attempt:    p.Attempt,
		NeverSeen:  p.NeverSeen,
		Info:       p.Info,
		Failure:    p.Failure,
		SentAt:     micros(p.SentAt),
		FinishedAt: micros(p.FinishedAt),
	})
	return string(b), err
}

func decodeProgress(text []byte, p *session.Payout) error {
	var doc progress
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	p.Fee = doc.Fee
	p.Rail, p.Reference = doc.Rail, doc.Reference
	p.Attempt, p.NeverSeen = doc.Attempt, doc.NeverSeen
	p.Info, p.Failure = doc.Info, doc.Failure
	p.SentAt, p.FinishedAt = instant(doc.SentAt), instant(doc.FinishedAt)
	return nil
}
