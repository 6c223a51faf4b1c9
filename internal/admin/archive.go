package admin

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
)

// ArchiveRequest asks to take sessions that ended long ago out into files.
type ArchiveRequest struct {
	Folder    string        `json:"folder"`     // absolute, on the server's machine
	OlderThan time.Duration `json:"older_than"` // nanoseconds
	Trial     bool          `json:"trial,omitempty"`
	DryRun    bool          `json:"dry_run,omitempty"`
	Rest      int           `json:"rest"`  // times as long as it worked
	Actor     string        `json:"actor"` // set by the client, as in the next one
}

// ArchiveCheckRequest asks to prove the books together with archive files.
type ArchiveCheckRequest struct {
	Files []string `json:"files"` // absolute, on the server's machine
	Actor string   `json:"actor"`
}

func (d *desk) archive(ctx context.Context, in ArchiveRequest) (payout.Archiving, error) {
	if !filepath.IsAbs(in.Folder) && !in.DryRun {
		return payout.Archiving{}, fault.New(fault.Invalid, "folder: want an absolute path")
	}
	o := payout.ArchiveOptions{Folder: in.Folder, OlderThan: in.OlderThan, Trial: in.Trial, DryRun: in.DryRun, Rest: in.Rest}
	if !in.DryRun { // written down before, because it may be interrupted
		if err := d.engine.Record(ctx, "", in.Actor, "archive", "", fmt.Sprintf("older than %s, to %s", in.OlderThan, in.Folder)); err != nil {
			return payout.Archiving{}, err
		}
	}
	done, err := d.engine.Archive(ctx, o)
	log := d.log.With("sessions", done.Sessions, "files", len(done.Files), "held", done.Held, "changed", done.Changed, "dry_run", in.DryRun, "actor", in.Actor)
	if err != nil {
		log.WarnContext(ctx, "archiving broke off", "error", err)
		return done, err
	}
	log.InfoContext(ctx, "archived")
	return done, nil
}

func (d *desk) checkArchives(ctx context.Context, in ArchiveCheckRequest) (*payout.Report, error) {
	return d.checked(ctx, in.Actor, func() (*payout.Report, error) { return d.engine.CheckArchives(ctx, in.Files) })
}

// Archive takes sessions that ended long ago out into files. A caller that stops
// to wait stops it; what it has done stays done.
func (c *Client) Archive(ctx context.Context, r ArchiveRequest) (payout.Archiving, error) {
	r.Actor = c.operator
	return call[payout.Archiving](ctx, c, opArchive, r)
}

// CheckArchives proves the books together with archive files.
func (c *Client) CheckArchives(ctx context.Context, files []string) (*payout.Report, error) {
	return call[*payout.Report](ctx, c, opArchiveCheck, ArchiveCheckRequest{files, c.operator})
}
