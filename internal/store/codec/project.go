package codec

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/partner"
)

// EncodeProject cuts the times as everywhere in the store. The revision in the
// document means nothing: the column has it.
func EncodeProject(p partner.Project) (string, error) {
	p.CreatedAt = p.CreatedAt.UTC().Truncate(time.Microsecond)
	p.Keys = slices.Clone(p.Keys)
	for i := range p.Keys {
		if at := p.Keys[i].RetiredAt; at != nil {
			cut := at.UTC().Truncate(time.Microsecond)
			p.Keys[i].RetiredAt = &cut
		}
	}
	b, err := json.Marshal(&p)
	return string(b), err
}

// ScanProject reads its document and its revision.
func ScanProject(row Row) (partner.Project, error) {
	var (
		doc      []byte
		revision int64
		p        partner.Project
	)
	if err := row.Scan(&doc, &revision); err != nil {
		return p, err
	}
	if err := json.Unmarshal(doc, &p); err != nil {
		return p, fmt.Errorf("document of a project: %w", err)
	}
	p.Revision = revision
	return p, nil
}
