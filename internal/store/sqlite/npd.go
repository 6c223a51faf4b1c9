package sqlite

import (
	"context"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	loadNPD = `SELECT ` + codec.NPDColumns + ` FROM json_each(?) k
		CROSS JOIN npd_requests n ON n.project = k.value->>0 AND n.id = k.value->>1`
	selectNPD = `SELECT ` + codec.NPDColumns + ` FROM npd_requests n WHERE n.project = ? AND n.id = ?`
	insertNPD = `INSERT INTO npd_requests (project, id, question, message, answer, created_at, ends_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, 1)`
	updateNPD = `UPDATE npd_requests SET message = ?, answer = ?, revision = revision + 1 WHERE project = ? AND id = ? AND revision = ?`
	wipeNPD   = `DELETE FROM npd_requests
		WHERE (project, id) IN (SELECT project, id FROM npd_requests WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)`
)

func (w *writer) loadNPD(wanted []store.NPDKey, into *store.Rows) error {
	if len(wanted) == 0 {
		return nil
	}
	keys, err := list(distinct(wanted, func(k store.NPDKey) any { return [2]any{k.Project, k.Request} }))
	if err != nil {
		return err
	}
	rows, err := w.query(loadNPD, keys)
	for r, err := range all(rows, err, codec.ScanNPD) {
		if err != nil {
			return err
		}
		into.NPD[r.Key()] = r
	}
	return nil
}

func (w *writer) writeNPD(r store.NPDRequest) error {
	question, answer, err := codec.EncodeNPD(r)
	switch {
	case err != nil:
	case r.Revision > 0:
		err = w.guarded(updateNPD, r.Message, answer, r.Project, r.ID, r.Revision)
	default:
		_, err = w.exec(insertNPD, r.Project, r.ID, question, r.Message, answer, codec.Micros(r.CreatedAt), codec.Micros(r.EndsAt))
	}
	if err != nil {
		return failed(err, "write %s at revision %d", r.ID, r.Revision)
	}
	return nil
}

// NPDRequest implements store.Store.
func (s *Store) NPDRequest(ctx context.Context, k store.NPDKey) (store.NPDRequest, error) {
	rows, err := s.readers.QueryContext(ctx, selectNPD, k.Project, k.Request)
	r, err := one(all(rows, err, codec.ScanNPD))
	if err != nil {
		return store.NPDRequest{}, s.failed(err, "read %s", k.Request)
	}
	return r, nil
}
