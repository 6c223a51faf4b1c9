package codec

import (
	"encoding/json"
	"fmt"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
)

// The columns that the functions below read, in their order.
const (
	CardColumns   = `c.project, c.id, c.ciphertext, c.fingerprint, c.created_at`
	ItemColumns   = `i.partner, i.id, i.kind, i.project, i.lookup, i.shown, i.ciphertext, i.fingerprint, i.created_at, i.ends_at, i.deleted_at, i.wipe_at, i.revision`
	PublicColumns = `t.project, t.lookup, t.widgets, t.attempts, t.created_at, t.ends_at, t.revision`
	ActColumns    = `project, id, at, actor, what, subject, text`
)

func ScanCard(row Row) (vault.Sealed, error) {
	var (
		s       vault.Sealed
		created int64
	)
	err := row.Scan(&s.Project, &s.ID, &s.Ciphertext, &s.Fingerprint, &created)
	s.CreatedAt = Instant(created)
	return s, err
}

func ScanItem(row Row) (vault.Item, error) {
	var (
		i                            vault.Item
		lookup, shown                []byte
		created, ends, deleted, wipe int64
	)
	err := row.Scan(&i.Partner, &i.ID, &i.Kind, &i.Project, &lookup, &shown, &i.Ciphertext, &i.Fingerprint,
		&created, &ends, &deleted, &wipe, &i.Revision)
	if err != nil {
		return i, err
	}
	copy(i.Lookup[:], lookup)
	if len(i.Ciphertext) == 0 { // wiped; not every driver makes that nil
		i.Ciphertext, i.Fingerprint = nil, nil
	}
	i.CreatedAt, i.EndsAt, i.DeletedAt, i.WipeAt = Instant(created), Instant(ends), Instant(deleted), Instant(wipe)
	if err := json.Unmarshal(shown, &i.Shown); err != nil {
		return i, fmt.Errorf("what may be shown of %s: %w", i.ID, err)
	}
	return i, nil
}

// EncodeShown gives the document of a column.
func EncodeShown(s vault.Shown) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

func ScanPublic(row Row) (*vault.Public, error) {
	var (
		p               vault.Public
		lookup, widgets []byte
		created, ends   int64
	)
	err := row.Scan(&p.Project, &lookup, &widgets, &p.Attempts, &created, &ends, &p.Revision)
	if err != nil {
		return nil, err
	}
	copy(p.Lookup[:], lookup)
	p.CreatedAt, p.EndsAt = Instant(created), Instant(ends)
	if err := json.Unmarshal(widgets, &p.Widgets); err != nil {
		return nil, fmt.Errorf("widgets of a public token of %s: %w", p.Project, err)
	}
	return &p, nil
}

// EncodeWidgets gives the document of a column.
func EncodeWidgets(w vault.Widgets) (string, error) {
	b, err := json.Marshal(w)
	return string(b), err
}

func ScanAct(row Row) (store.Act, error) {
	var (
		a  store.Act
		at int64
	)
	err := row.Scan(&a.Project, &a.ID, &at, &a.Actor, &a.What, &a.Subject, &a.Text)
	a.At = Instant(at)
	return a, err
}
