package vault

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
)

// Kind is a namespace of tokens: what was issued as one kind is unknown as
// another (wire reference, extensions §8 no. 6).
type Kind string

// The kinds. There is none for a security code: a payout has no use of it, and
// it may not be kept (PCI DSS 3.3.1.2).
const (
	CardHash       Kind = "card_hash"       // number_hash of an encrypted_card
	ExpiryHash     Kind = "expiry_hash"     // expiration_date_hash
	HolderHash     Kind = "holder_hash"     // cardholder_name_hash
	CardToken      Kind = "card_token"      // token of a tokenized_card
	RecurrentToken Kind = "recurrent_token" // token of a recurrent method
	AccountToken   Kind = "account_token"   // token of an account at a Russian bank
	PublicToken    Kind = "public_token"    // opens a widget; it stands for nothing sealed
)

// Card reports whether the kind stands for a card number.
func (k Kind) Card() bool { return k == CardHash || k == CardToken || k == RecurrentToken }

// Token is what the holder shows: 64 lower-case hexadecimal digits, 32 random
// bytes. It is nowhere stored, only its keyed hash is. It prints as "[secret]",
// with the exceptions of instrument.PAN.
type Token string

func (Token) String() string   { return secretText }
func (Token) GoString() string { return secretText }

// Format keeps the token out of every verb of fmt.
func (Token) Format(f fmt.State, _ rune) { printSecret(f) }

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText keeps the token out of JSON.
func (Token) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// NewToken makes a token that nobody can guess.
func NewToken() Token {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return Token(hex.EncodeToString(b[:]))
}

// KeepAfterEnd is how long the sealed content outlives its token: for as long
// a payout that was promised to a rail before may have to be sent again.
const KeepAfterEnd = 7 * 24 * time.Hour

// Shown is what may be shown of what a token stands for; members that it does
// not have are empty.
type Shown struct {
	BIN    string           `json:"bin,omitempty"`
	Last4  string           `json:"last4,omitempty"`
	Brand  instrument.Brand `json:"brand,omitempty"`
	Masked string           `json:"masked,omitempty"` // an account: five digits, "***" and four
}

// ShownAccount is what may be shown of an account number of 20 digits (wire
// reference, extensions §2.4).
func ShownAccount(number string) Shown {
	return Shown{Masked: number[:5] + "***" + number[len(number)-4:]}
}

// Item is what a token stands for, as the database sees it. It belongs to a
// partner, whose projects share it.
type Item struct {
	Partner id.Partner
	ID      id.Token
	Kind    Kind
	Project id.Project // for which it was issued
	// Lookup is a keyed hash of kind and token: who reads it can't tell the token.
	Lookup [32]byte
	Shown  Shown
	// Ciphertext and Fingerprint are as those of Sealed; empty once wiped.
	Ciphertext  []byte
	Fingerprint []byte

	CreatedAt time.Time
	EndsAt    time.Time
	DeletedAt time.Time // zero while it stands
	WipeAt    time.Time // when the ciphertext goes; zero once it has gone
	Revision  int64     // rises with each change
}

// Active reports whether the token may be used.
func (i *Item) Active(now time.Time) bool {
	return i.DeletedAt.IsZero() && now.Before(i.EndsAt)
}

// Delete ends the token at once; what it stands for goes KeepAfterEnd later.
func (i *Item) Delete(now time.Time) {
	i.DeletedAt = now
	if wipe := now.Add(KeepAfterEnd); !i.WipeAt.IsZero() && wipe.Before(i.WipeAt) {
		i.WipeAt = wipe
	}
}

// Issue seals content and makes the token that stands for it. The kind,
// partner, project, id and times of i are given; the rest is filled in. The
// content is a card number, an account as BIK and number in one row of digits,
// or text; the caller clears it. The error is fault.Internal.
func (v *Vault) Issue(i Item, content []byte) (Item, Token, error) {
	token := NewToken()
	keys := v.keys.Load()
	var err error
	if i.Lookup, err = keys.lookUp(i.Kind, token); err != nil {
		return Item{}, "", err
	}
	if len(content) == 0 {
		return Item{}, "", fault.New(fault.Internal, "vault: nothing to seal")
	}
	i.Ciphertext, i.Fingerprint, err = keys.seal(content, i.bound(), i.marked(content))
	if err != nil {
		return Item{}, "", fault.Wrap(fault.Internal, err, "the content of a token could not be sealed")
	}
	i.WipeAt = i.EndsAt.Add(KeepAfterEnd)
	return i, token, nil
}

// LookUp is the keyed hash under which a token of a kind is found. The error is
// fault.Internal.
func (v *Vault) LookUp(k Kind, t Token) ([32]byte, error) { return v.keys.Load().lookUp(k, t) }

// OpenItem returns the content; the caller clears it after use. Whatever does
// not fit, the error is the same fault.Internal.
func (v *Vault) OpenItem(i Item) ([]byte, error) {
	content, err := v.keys.Load().open(i.Ciphertext, i.Fingerprint, i.bound(), i.marked)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "what a token stands for could not be opened")
	}
	return content, nil
}

// bound is what the ciphertext is bound to. A project's name holds no NUL, so
// it is never that of a card.
func (i *Item) bound() []byte {
	return append(associated("", id.Card(i.ID)), "\x00"+string(i.Kind)+"\x00"+string(i.Partner)...)
}

// marked is what the fingerprint is made of. A card has the one it has
// elsewhere. What is neither card nor account is nobody's to find again.
func (i *Item) marked(content []byte) []byte {
	switch {
	case i.Kind.Card():
		return append([]byte(nil), content...)
	case i.Kind == AccountToken:
		return append([]byte("payoutd account 1 "), content...)
	}
	return append(append([]byte("payoutd item 1 "), i.bound()...), content...)
}

// CardID is a stable identifier of a card for one partner: 64 hexadecimal
// digits made of its fingerprint (wire reference, core §4.1). It changes only
// with the fingerprint key. The error is fault.Internal.
func (v *Vault) CardID(p id.Partner, fingerprint []byte) (string, error) {
	input := append([]byte("payoutd card id 1 "+string(p)+"\x00"), fingerprint...)
	b, err := v.keys.Load().lookup.ComputePrimaryPRF(input, fingerprintBytes)
	if err != nil {
		return "", fault.Wrap(fault.Internal, err, "the identifier of a card could not be made")
	}
	return hex.EncodeToString(b), nil
}
