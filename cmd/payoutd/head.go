package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/relocate"
	"github.com/payoutd/payoutd/internal/store"
)

const (
	headDigits = 20 // of a batch, with zeros before it
	// headGap is how long what was noted may take to come to the disk. A crash of
	// the program loses none of it, one of the machine at most this much.
	headGap = time.Second
)

// head is the last batch that this node knows to be committed, in a file of the
// folder: outside of the database, so that a database that was restored to an
// earlier state is known for what it is. The file is the node's own for as long
// as its lock is held.
type head struct {
	file    *os.File
	log     *slog.Logger
	noted   atomic.Bool // and not yet on the disk
	failing atomic.Bool
	stop    chan struct{}
	stopped chan struct{}
}

// openHead takes the first head of the folder that no other node has, and begins
// it anew for the database.
func openHead(f folder, log *slog.Logger) (*head, error) {
	for n := range nodesMax {
		path := f.path(fmt.Sprintf("head-%d", n+1))
		file, err := tryLock(path)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h := &head{file: file, log: log, stop: make(chan struct{}), stopped: make(chan struct{})}
		if err := h.begin(f.db.name); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		go h.keep()
		return h, nil
	}
	return nil, fmt.Errorf("%d nodes use the folder %s already: give this one a folder of its own, with copies of the keys", nodesMax, shown(f.dir))
}

// begin names the database, unless it is the one that is there.
func (h *head) begin(database string) error {
	old, err := os.ReadFile(h.file.Name())
	if err != nil {
		return err
	}
	if of, ok := parseHead(old); ok && of.database == database {
		return nil
	}
	if err := h.file.Truncate(0); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(h.file, "%0*d\n%s\n", headDigits, 0, database); err != nil {
		return err
	}
	return errors.Join(h.file.Sync(), syncFolder(filepath.Dir(h.file.Name())))
}

// note writes a batch down. It costs no wait for the disk, and where it fails
// payouts go on: then the node would not know an earlier database.
func (h *head) note(b id.Batch) {
	_, err := h.file.WriteAt(fmt.Appendf(nil, "%0*d", headDigits, b), 0)
	if failed := err != nil; h.failing.Swap(failed) != failed && failed {
		h.log.Error("the last batch could not be noted; a database that goes back would not be known", "file", h.file.Name(), "error", err)
	}
	h.noted.Store(true)
}

// keep brings what was noted to the disk.
func (h *head) keep() {
	defer close(h.stopped)
	tick := time.NewTicker(headGap)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
			h.sync()
		}
	}
}

func (h *head) sync() {
	if !h.noted.Swap(false) {
		return
	}
	if err := h.file.Sync(); err != nil {
		h.log.Error("the last batch could not be noted on the disk", "file", h.file.Name(), "error", err)
	}
}

func (h *head) close() error {
	close(h.stop)
	<-h.stopped
	h.sync()
	return h.file.Close()
}

// noted is what a head says.
type noted struct {
	batch    id.Batch
	database string
}

// parseHead reads a head; false if there is nothing in it.
func parseHead(content []byte) (n noted, ok bool) {
	number, rest, ok := bytes.Cut(content, []byte("\n"))
	if !ok || len(number) != headDigits {
		return n, false
	}
	b, err := strconv.ParseInt(string(number), 10, 64)
	n.batch, n.database = id.Batch(b), strings.TrimSuffix(string(rest), "\n")
	return n, err == nil
}

// heads reads what the nodes on the folder have noted, those that have ended
// included.
func (f folder) heads(log *slog.Logger) (all []noted, err error) {
	for n := range nodesMax {
		content, err := os.ReadFile(f.path(fmt.Sprintf("head-%d", n+1)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		of, ok := parseHead(content)
		if !ok && len(content) > 0 {
			log.Warn("the last batch of a node can't be read; if the database went back since, it is not known", "file", f.path(fmt.Sprintf("head-%d", n+1)))
		}
		if ok && of.batch != 0 {
			all = append(all, of)
		}
	}
	return all, nil
}

// begun reports whether the database is in use. An empty one is another one,
// unless the folder knows it by its name: then it was emptied, which is an error.
func (i *installation) begun(ctx context.Context) (bool, error) {
	_, begun, err := setting(ctx, i.store, settingVaultCheck)
	if err != nil || begun {
		return begun, err
	}
	all, err := i.heads(i.log)
	if err != nil {
		return false, err
	}
	moved, err := movedBatch(ctx, i.store)
	if err != nil {
		return false, err
	}
	for _, of := range all {
		if of.batch > moved && of.database == i.db.name {
			return false, fmt.Errorf("%s is empty, and servers on this folder had committed to it up to %s: restore it from a backup; "+
				"to begin anew take another folder, or remove the files head-* of this one", i.db.shown(), of.batch.At().Format(time.RFC3339Nano))
		}
	}
	return false, nil
}

// noticeRestore compares the database with what the nodes on the folder know to
// be in it.
func (i *installation) noticeRestore(ctx context.Context) (payout.Restore, error) {
	r, err := payout.ReadRestore(ctx, i.store)
	if err != nil {
		return r, err
	}
	all, err := i.heads(i.log)
	if err != nil {
		return r, err
	}
	moved, err := movedBatch(ctx, i.store)
	if err != nil {
		return r, err
	}
	for _, of := range all {
		if of.batch <= moved {
			continue
		}
		if r, err = payout.NoticeRestore(ctx, i.store, of.batch); err != nil {
			return r, err
		}
	}
	return r, nil
}

func movedBatch(ctx context.Context, s store.Store) (id.Batch, error) {
	value, found, err := setting(ctx, s, relocate.SettingMovedBatch)
	if err != nil || !found {
		return 0, err
	}
	b, err := strconv.ParseInt(string(value), 10, 64)
	return id.Batch(b), err
}

// declare is the command that declares a restore of the database.
func (i *installation) declare() string {
	return fmt.Sprintf("payoutd restored declare --data %s --db %s", quote(cmp.Or(i.dir, "DIR")), quote(i.db.given()))
}
