package codec

import (
	"encoding/json"
	"fmt"

	"github.com/payoutd/payoutd/internal/store"
)

// NPDColumns are those that ScanNPD reads, in their order.
const NPDColumns = `n.project, n.id, n.question, n.message, n.answer, n.created_at, n.ends_at, n.revision`

func ScanNPD(row Row) (store.NPDRequest, error) {
	var (
		r                store.NPDRequest
		question, answer []byte
		created, ends    int64
	)
	err := row.Scan(&r.Project, &r.ID, &question, &r.Message, &answer, &created, &ends, &r.Revision)
	if err != nil {
		return r, err
	}
	r.CreatedAt, r.EndsAt = Instant(created), Instant(ends)
	if err := json.Unmarshal(question, &r.Question); err != nil {
		return r, fmt.Errorf("question of %s: %w", r.ID, err)
	}
	if len(answer) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(answer, &r.Answer); err != nil {
		return r, fmt.Errorf("answer to %s: %w", r.ID, err)
	}
	return r, nil
}

// EncodeNPD gives the documents of two columns; that of an answer which is not
// there yet is empty.
func EncodeNPD(r store.NPDRequest) (question, answer string, err error) {
	q, err := json.Marshal(r.Question)
	if err != nil || r.Answer == nil {
		return string(q), "", err
	}
	a, err := json.Marshal(r.Answer)
	return string(q), string(a), err
}
