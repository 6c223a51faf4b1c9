package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/payoutd/payoutd/internal/fault"
)

// Backup copies the database of a file, as it stands at one moment, into a file
// that must not be there. Whoever owns the first goes on with it meanwhile. The
// copy is whole and on the disk when it returns; after an error there is none.
func Backup(ctx context.Context, path, to string) (err error) {
	if _, err := os.Lstat(path); err != nil {
		return fault.Wrap(fault.NotFound, err, "the database %s can't be read", path)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, "%s is there already", to)
	}
	// SQLite takes a new file for the world to read; this one is the owner's.
	file, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.Wrap(fault.Busy, err, "the copy %s can't be made", to)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(to)
		}
	}()
	db, err := connect(path, "rw", []string{"busy_timeout(5000)"}, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return failed(err, "copy %s to %s", path, to)
	}
	folder, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), folder.Sync(), folder.Close())
}
