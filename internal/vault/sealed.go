package vault

import (
	"time"

	"github.com/payoutd/payoutd/internal/id"
)

// Sealed is a card number as the database sees it.
type Sealed struct {
	Project id.Project
	ID      id.Card
	// Ciphertext is the AEAD of the digits; its associated data is the project
	// and the id, so that a swapped one does not open.
	Ciphertext []byte
	// Fingerprint is a keyed hash of the digits: the same card has the same
	// one, and nobody without the key can tell which card.
	Fingerprint []byte
	CreatedAt   time.Time
}
