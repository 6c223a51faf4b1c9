package store

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/vault"
)

// Tokens is the part of the store that keeps what tokens stand for. Tokens are
// written by Commit; what is here is read without waiting for any.
type Tokens interface {
	// Item reads what a token stands for.
	Item(ctx context.Context, k ItemKey) (vault.Item, error)
	// FindItem reads it by the keyed hash of the token.
	FindItem(ctx context.Context, p id.Partner, kind vault.Kind, lookup [32]byte) (vault.Item, error)
	// FindPublic reads a public token of whichever project.
	FindPublic(ctx context.Context, lookup [32]byte) (vault.Public, error)

	// Cards reads sealed card numbers in the order of their keys, those behind
	// after, up to limit.
	Cards(ctx context.Context, after CardKey, limit int) ([]vault.Sealed, error)
	// Items does the same for what tokens stand for.
	Items(ctx context.Context, after ItemKey, limit int) ([]vault.Item, error)
	// Reseal puts new ciphertexts and fingerprints in place of old ones, in one
	// transaction, and tells how many it has changed: a row whose ciphertext is
	// not the old one any more is left as it is.
	Reseal(ctx context.Context, cards []Resealed[vault.Sealed], items []Resealed[vault.Item]) (int, error)
	// Wipe removes the ciphertexts and fingerprints of up to limit items whose
	// time for it has come, up to limit public tokens that came to their end
	// vault.KeepAfterEnd ago, and up to limit requests to the tax service that
	// have ended. It tells how many of all.
	Wipe(ctx context.Context, now time.Time, limit int) (int, error)

	// Audit reads the newest acts of operators, newest first.
	Audit(ctx context.Context, limit int) ([]Act, error)
}

// CardKey names a sealed card number.
type CardKey struct {
	Project id.Project
	Card    id.Card
}

// ItemKey names what a token stands for.
type ItemKey struct {
	Partner id.Partner
	Token   id.Token
}

// PublicKey names a public token.
type PublicKey struct {
	Project id.Project
	Lookup  [32]byte
}

// Resealed is a row before and after it was sealed anew.
type Resealed[T any] struct{ Old, New T }

// Act is one access of an operator to the vault. Acts are added and never
// changed or removed.
type Act struct {
	Project id.Project // "" where it is of the whole installation
	ID      int64
	At      time.Time
	Actor   string // who, as the machine knows him
	What    string // snake_case, stable
	Subject string // the id of a token, such as "tk_1", or ""
	Text    string
}
