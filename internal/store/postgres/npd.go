package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

var updateNPD = guarded(`UPDATE npd_requests n SET message = k.message, answer = k.answer, revision = n.revision + 1
	FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[]) k (project, id, revision, message, answer)
	WHERE n.project = k.project AND n.id = k.id AND n.revision = k.revision`)

const (
	loadNPD = `SELECT ` + codec.NPDColumns + ` FROM unnest($1::text[], $2::bigint[]) k (project, id)
		JOIN npd_requests n ON n.project = k.project AND n.id = k.id
		ORDER BY n.project, n.id FOR UPDATE OF n`
	insertNPD = `INSERT INTO npd_requests (project, id, question, message, answer, created_at, ends_at, revision)
		SELECT k.*, 1 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]) k`
	selectNPD = `SELECT ` + codec.NPDColumns + ` FROM npd_requests n WHERE n.project = $1 AND n.id = $2`
	wipeNPD   = `DELETE FROM npd_requests n USING (
			SELECT project, id FROM npd_requests WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED
		) old WHERE n.project = old.project AND n.id = old.id`
)

func compareNPD(a, b store.NPDKey) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Request, b.Request))
}

func queueNPD(b *pgx.Batch, keys []store.NPDKey, rows *store.Rows) {
	if len(keys) == 0 {
		return
	}
	b.Queue(loadNPD, column(keys, func(k store.NPDKey) string { return text(k.Project) }),
		column(keys, func(k store.NPDKey) int64 { return int64(k.Request) })).Query(func(r pgx.Rows) error {
		return each(r, codec.ScanNPD, func(n store.NPDRequest) { rows.NPD[n.Key()] = n })
	})
}

// encodedNPD is a request with its documents.
type encodedNPD struct {
	store.NPDRequest
	question, answer string
}

func writeNPD(b *pgx.Batch, requests []store.NPDRequest) error {
	requests = slices.SortedStableFunc(slices.Values(requests), func(a, b store.NPDRequest) int { return compareNPD(a.Key(), b.Key()) })
	var added, changed []encodedNPD
	for _, r := range requests {
		question, answer, err := codec.EncodeNPD(r)
		if err != nil {
			return failed(err, "write %s", r.ID)
		}
		if e := (encodedNPD{r, question, answer}); r.Revision == 0 {
			added = append(added, e)
		} else {
			changed = append(changed, e)
		}
	}
	if len(added) > 0 {
		b.Queue(insertNPD,
			column(added, func(r encodedNPD) string { return text(r.Project) }),
			column(added, func(r encodedNPD) int64 { return int64(r.ID) }),
			column(added, func(r encodedNPD) string { return r.question }),
			column(added, func(r encodedNPD) string { return string(r.Message) }),
			column(added, func(r encodedNPD) string { return r.answer }),
			column(added, func(r encodedNPD) int64 { return codec.Micros(r.CreatedAt) }),
			column(added, func(r encodedNPD) int64 { return codec.Micros(r.EndsAt) }),
		)
	}
	if len(changed) > 0 {
		b.Queue(updateNPD,
			column(changed, func(r encodedNPD) string { return text(r.Project) }),
			column(changed, func(r encodedNPD) int64 { return int64(r.ID) }),
			column(changed, func(r encodedNPD) int64 { return r.Revision }),
			column(changed, func(r encodedNPD) string { return string(r.Message) }),
			column(changed, func(r encodedNPD) string { return r.answer }),
		)
	}
	return nil
}

// NPDRequest implements store.Store.
func (s *Store) NPDRequest(ctx context.Context, k store.NPDKey) (store.NPDRequest, error) {
	r, err := first(ctx, s, codec.ScanNPD, selectNPD, text(k.Project), int64(k.Request))
	if err != nil {
		return store.NPDRequest{}, failed(err, "read %s", k.Request)
	}
	return r, nil
}
