package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	selectProjects = `SELECT doc, revision FROM projects ORDER BY id`
	insertProject  = `INSERT INTO projects (id, revision, doc) VALUES ($1, 1, $2)`
	lockProject    = `SELECT revision FROM projects WHERE id = $1 FOR UPDATE`
	updateProject  = `UPDATE projects SET revision = revision + 1, doc = $2 WHERE id = $1`
	insertBook     = `INSERT INTO books (project, credit, hash, revision) VALUES ($1, $2, $3, 1)`
	updateCredit   = `UPDATE books SET credit = $2, revision = revision + 1 WHERE project = $1 AND credit <> $2`
	raiseProjects  = `UPDATE projects_revision SET revision = revision + 1`
)

// Projects implements store.Store.
func (s *Store) Projects(ctx context.Context) ([]partner.Project, error) {
	projects, err := list(ctx, s, codec.ScanProject, selectProjects)
	if err != nil {
		return nil, failed(err, "read the projects")
	}
	return projects, nil
}

// ProjectsRevision implements store.Store.
func (s *Store) ProjectsRevision(ctx context.Context) (revision int64, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT revision FROM projects_revision`).Scan(&revision)
	})
	if err != nil {
		return 0, failed(err, "read the revision of the projects")
	}
	return revision, nil
}

// CreateProject implements store.Store. It is not tried again on a broken
// connection: the second try would refuse what the first has perhaps written.
func (s *Store) CreateProject(ctx context.Context, p partner.Project) error {
	doc, err := codec.EncodeProject(p)
	if err != nil {
		return failed(err, "write project %s", p.ID)
	}
	err = s.change(ctx, p.ID, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insertProject, p.ID, doc); err != nil {
			if sqlState(err) == uniqueViolation {
				return fault.Wrap(fault.Invalid, err, "the project %s exists", p.ID)
			}
			return err
		}
		_, err := tx.Exec(ctx, insertBook, p.ID, p.Credit, make([]byte, 32))
		return err
	})
	if err != nil {
		return failed(err, "create project %s", p.ID)
	}
	return nil
}

// UpdateProject implements store.Store; fault.NotFound if there is no such
// project, fault.Invalid if the balance is already below the new credit line.
// It is not tried again, as CreateProject.
func (s *Store) UpdateProject(ctx context.Context, p partner.Project) error {
	doc, err := codec.EncodeProject(p)
	if err != nil {
		return failed(err, "write project %s", p.ID)
	}
	err = s.change(ctx, p.ID, func(ctx context.Context, tx pgx.Tx) error {
		var stored int64
		if err := tx.QueryRow(ctx, lockProject, p.ID).Scan(&stored); err != nil {
			return err
		}
		if stored != p.Revision {
			return fault.New(fault.Busy, "the project %s was changed by somebody else: read it again", p.ID)
		}
		if _, err := tx.Exec(ctx, updateProject, p.ID, doc); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, updateCredit, p.ID, p.Credit)
		return err
	})
	if err != nil {
		return failed(err, "update project %s", p.ID)
	}
	return nil
}

// change runs a transaction on the project p and lets all nodes know. The
// constraints of a book speak of its credit here.
func (s *Store) change(ctx context.Context, p id.Project, do func(context.Context, pgx.Tx) error) error {
	return s.on(ctx, s.writers, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			err := do(ctx, tx)
			if sqlState(err) == checkViolation {
				return fault.Wrap(fault.Invalid, err, "the credit of %s can't be negative, nor less than it has used", p)
			}
			if err == nil {
				_, err = tx.Exec(ctx, raiseProjects)
			}
			return err
		})
	})
}
