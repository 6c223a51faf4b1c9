package store

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/tax"
)

// NPD is the part of the store that keeps what projects ask the tax service for
// self-employed people. Requests are written by Commit, and end by Wipe.
type NPD interface {
	// NPDRequest reads a request without waiting for any Commit.
	NPDRequest(ctx context.Context, k NPDKey) (NPDRequest, error)
}

// NPDKey names a request to the tax service.
type NPDKey struct {
	Project id.Project
	Request id.NPDRequest
}

// NPDRequest is a question of a project to the tax service, and its answer.
type NPDRequest struct {
	Project  id.Project
	ID       id.NPDRequest
	Question tax.Question
	// Message is the service's name of the question; "" if it is not known to
	// have been handed over.
	Message   tax.Message
	Answer    *tax.Answer // nil as long as there is none
	CreatedAt time.Time
	EndsAt    time.Time
	Revision  int64 // rises with each change
}

// Key is the request's.
func (r *NPDRequest) Key() NPDKey { return NPDKey{r.Project, r.ID} }
