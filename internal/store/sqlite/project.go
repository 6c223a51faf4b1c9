package sqlite

import (
	"context"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store/codec"
)

const (
	selectProjects = `SELECT doc, revision FROM projects ORDER BY id`
	insertProject  = `INSERT INTO projects (id, revision, doc) VALUES (?, 1, ?)`
	updateProject  = `UPDATE projects SET revision = revision + 1, doc = ? WHERE id = ? AND revision = ?`
	insertBook     = `INSERT INTO books (project, credit, hash, revision) VALUES (?, ?, zeroblob(32), 1)`
	updateCredit   = `UPDATE books SET credit = ?1, revision = revision + 1 WHERE project = ?2 AND credit <> ?1`
	raiseProjects  = `UPDATE projects_revision SET revision = revision + 1`
)

// Projects implements store.Store.
func (s *Store) Projects(ctx context.Context) ([]partner.Project, error) {
	rows, err := s.readers.QueryContext(ctx, selectProjects)
	projects, err := codec.Collect(all(rows, err, codec.ScanProject))
	if err != nil {
		return nil, s.failed(err, "read the projects")
	}
	return projects, nil
}

// ProjectsRevision implements store.Store.
func (s *Store) ProjectsRevision(ctx context.Context) (int64, error) {
	var revision int64
	if err := s.readers.QueryRowContext(ctx, `SELECT revision FROM projects_revision`).Scan(&revision); err != nil {
		return 0, s.failed(err, "read the revision of the projects")
	}
	return revision, nil
}

// CreateProject implements store.Store.
func (s *Store) CreateProject(ctx context.Context, p partner.Project) error {
	doc, err := codec.EncodeProject(p)
	if err != nil {
		return failed(err, "write project %s", p.ID)
	}
	err = s.writer.transact(ctx, func() (bool, error) {
		if _, err := s.writer.exec(insertProject, p.ID, doc); err != nil {
			if code(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
				return false, fault.Wrap(fault.Invalid, err, "the project %s exists", p.ID)
			}
			return false, err
		}
		if _, err := s.writer.exec(insertBook, p.ID, p.Credit); err != nil {
			if code(err) == sqlite3.SQLITE_CONSTRAINT_CHECK {
				return false, fault.Wrap(fault.Invalid, err, "the credit of a project can't be negative")
			}
			return false, err
		}
		_, err := s.writer.exec(raiseProjects)
		return true, err
	})
	if err != nil {
		return failed(err, "create project %s", p.ID)
	}
	return nil
}

// UpdateProject implements store.Store; fault.NotFound if there is no such
// project, fault.Invalid if the balance is already below the new credit line.
func (s *Store) UpdateProject(ctx context.Context, p partner.Project) error {
	doc, err := codec.EncodeProject(p)
	if err != nil {
		return failed(err, "write project %s", p.ID)
	}
	err = s.writer.transact(ctx, func() (bool, error) {
		rows, err := s.writer.query(`SELECT revision FROM projects WHERE id = ?`, p.ID)
		stored, err := one(all(rows, err, func(row codec.Row) (revision int64, err error) {
			return revision, row.Scan(&revision)
		}))
		if err != nil {
			return false, err
		}
		if stored != p.Revision {
			return false, fault.New(fault.Busy, "the project %s was changed by somebody else: read it again", p.ID)
		}
		if err := s.writer.guarded(updateProject, doc, p.ID, p.Revision); err != nil {
			return false, err
		}
		if _, err := s.writer.exec(updateCredit, p.Credit, p.ID); err != nil {
			if code(err) == sqlite3.SQLITE_CONSTRAINT_CHECK {
				return false, fault.Wrap(fault.Invalid, err, "the credit of %s can't be negative, nor less than it has used", p.ID)
			}
			return false, err
		}
		_, err = s.writer.exec(raiseProjects)
		return true, err
	})
	if err != nil {
		return failed(err, "update project %s", p.ID)
	}
	return nil
}
