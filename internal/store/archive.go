package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Archives is the part of the store that sessions leave which ended long ago.
// With a session go its payouts, its events and their deliveries, and the sealed
// card numbers that it names. Entries, attempts, reservations and idempotency
// keys stay.
type Archives interface {
	// Aged looks at up to limit sessions of a project, by ID and behind one, and
	// returns those that have ended and were last changed before a time. last is
	// the last one that it looked at; 0 if there was none, or all of them were
	// made at the time or later.
	Aged(ctx context.Context, p id.Project, after id.Session, before time.Time, limit int) (aged []Dossier, last id.Session, err error)
	// AddArchive writes down a file that is complete and on the disk.
	AddArchive(ctx context.Context, a Archive) error
	// TakeOut removes sessions of one project, and writes down what stays of
	// them, all in one transaction. It removes exactly what is in their records:
	// a session that has changed since it was read, has a task or is gone is left
	// as it is and returned. One that was taken out into the same archive before
	// counts as taken out, so that the same call may be made again.
	// fault.NotFound if the project has no book.
	TakeOut(ctx context.Context, p id.Project, sessions []Leaving) (left []id.Session, err error)
	// Archived reads what stays of a session; fault.NotFound if it was not
	// archived.
	Archived(ctx context.Context, k SessionKey) (Archived, error)
	// ReadRecord is the reverse of what made Dossier.Record.
	ReadRecord(record []byte) (Dossier, error)
}

// ArchivesOfSnapshot is what a snapshot shows of them.
type ArchivesOfSnapshot interface {
	Archives(ctx context.Context, p id.Project) iter.Seq2[Archive, error]  // by Number
	Archived(ctx context.Context, p id.Project) iter.Seq2[Archived, error] // by Session
}

// Dossier is a session with all that leaves the database with it.
type Dossier struct {
	Session *session.Session
	Events  []webhook.Event // by N
	// Record is the rows of all of it as JSON in one line, the same for the same
	// rows.
	Record []byte
}

// Archive is a file that sessions were archived in.
type Archive struct {
	Project  id.Project
	Number   id.Archive
	File     string   // its name, without the folder
	Print    [32]byte // SHA-256 of it
	Bytes    int64
	Sessions int // in it; not all of them need have been taken out
	At       time.Time
}

// ArchiveFile is the name of an archive's file, without the folder.
func ArchiveFile(p id.Project, n id.Archive) string { return fmt.Sprintf("%s_%s.jsonl.gz", p, n) }

// Archived is what stays of a session that was archived.
type Archived struct {
	SessionKey
	Archive  id.Archive
	Print    [32]byte // SHA-256 of its record
	State    session.State
	Payouts  []ArchivedPayout
	Events   int
	Seqs     int64 // the sum of their sequence numbers
	Reserved int   // reservations of its payouts
	// Entry is the last entry of the project's book when the session was taken
	// out. What is booked about it later is behind that. TakeOut sets it.
	Entry   int64
	EndedAt time.Time
}

// Leaving is a session that is to be taken out.
type Leaving struct {
	Archived
	Cards []id.Card // sealed numbers that go with it
}

// ArchivedPayout is what stays of a payout.
type ArchivedPayout struct {
	ID      id.Payout     `json:"id"`
	State   session.State `json:"state"`
	Minor   int64         `json:"minor"`             // kopecks that were to be moved; 0 where no money is
	Account string        `json:"account,omitempty"` // the project's own that it was paid from
	Moves   bool          `json:"moves,omitempty"`   // it was to move money
}
