package payout

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

// archiveForm is the version of the form of archive files.
const archiveForm = 1

// archiveHead is the first line of an archive file, which is JSON in lines,
// compressed by gzip. Behind it comes a record for each session, by number, and
// at last an archiveTail.
type archiveHead struct {
	Archive int        `json:"payoutd_archive"` // archiveForm
	Project id.Project `json:"project"`
	Number  id.Archive `json:"number"`
	Before  time.Time  `json:"ended_before"`
}

// archiveTail is the last line: without it the file is not whole.
type archiveTail struct {
	Sessions int `json:"sessions_in_all"`
}

// archiveWriter writes an archive file.
type archiveWriter struct {
	head   archiveHead
	path   string // that it gets when it is whole
	taxed  []taxed
	draft  *os.File
	hash   hash.Hash
	bytes  counted
	buffer *bufio.Writer
	zip    *gzip.Writer
	n      int
}

// counted counts what is written.
type counted int64

func (c *counted) Write(b []byte) (int, error) {
	*c += counted(len(b))
	return len(b), nil
}

// newArchive begins a file in a folder. Only its owner may read it: it names
// people.
func newArchive(folder string, head archiveHead) (*archiveWriter, error) {
	w := &archiveWriter{head: head, path: filepath.Join(folder, store.ArchiveFile(head.Project, head.Number)), hash: sha256.New()}
	var err error
	if w.draft, err = os.OpenFile(w.path+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil { // #nosec G304 -- a folder that the operator names
		return nil, fault.Wrap(fault.Invalid, err, "the archive can't be written: %v", err)
	}
	w.buffer = bufio.NewWriter(io.MultiWriter(w.draft, w.hash, &w.bytes))
	w.zip = gzip.NewWriter(w.buffer)
	return w, w.line(head)
}

func (w *archiveWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.zip.Write(append(b, '\n'))
	return err
}

// add adds the record of a session.
func (w *archiveWriter) add(record []byte) error {
	w.n++
	if sabotage == "archived nowhere" {
		return nil
	}
	_, err := w.zip.Write(append(slices.Clip(record), '\n'))
	return err
}

// close makes the file whole and gives it its name, durably.
func (w *archiveWriter) close() (print [sha256.Size]byte, size int64, err error) {
	err = errors.Join(w.line(archiveTail{w.n}), w.zip.Close(), w.buffer.Flush(), w.draft.Sync(), w.draft.Close())
	if err == nil {
		err = os.Rename(w.draft.Name(), w.path)
	}
	if err != nil {
		return print, 0, errors.Join(err, os.Remove(w.draft.Name()))
	}
	folder, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return print, 0, err
	}
	w.hash.Sum(print[:0])
	return print, int64(w.bytes), errors.Join(folder.Sync(), folder.Close())
}

// discard gives up what is not whole.
func (w *archiveWriter) discard() {
	_ = w.draft.Close()
	_ = os.Remove(w.draft.Name()) // what stays is named .part, and nobody reads it
}

// archiveReader reads the records of an archive file one by one.
type archiveReader struct {
	head  archiveHead
	path  string
	file  *os.File
	zip   *gzip.Reader
	lines *bufio.Reader

	// The record that it stands at; record is nil behind the last one.
	session id.Session
	record  []byte
	n       int
}

// openArchive opens a file at its first record.
func openArchive(path string) (_ *archiveReader, err error) {
	r := &archiveReader{path: path}
	if r.file, err = os.Open(path); err != nil { // #nosec G304 -- a file that the operator names
		return nil, fault.Wrap(fault.Invalid, err, "the archive can't be opened: %v", err)
	}
	defer func() {
		if err != nil {
			_ = r.file.Close()
		}
	}()
	if r.zip, err = gzip.NewReader(bufio.NewReader(r.file)); err != nil {
		return nil, r.broken(err)
	}
	r.lines = bufio.NewReader(r.zip)
	line, err := r.line()
	if err == nil {
		err = json.Unmarshal(line, &r.head)
	}
	if err == nil && r.head.Archive != archiveForm {
		err = fmt.Errorf("it is of the form %d, this program reads %d", r.head.Archive, archiveForm)
	}
	if err != nil {
		return nil, r.broken(err)
	}
	return r, r.next()
}

func (r *archiveReader) broken(err error) error {
	return fault.Wrap(fault.Invalid, err, "%s is no whole archive: %v", r.path, err)
}

// lineBytesMax is far above the record of any session. A few bytes of a file
// that somebody has changed could unpack to more than there is memory.
const lineBytesMax = 64 << 20

func (r *archiveReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > lineBytesMax:
			return nil, fmt.Errorf("a line has more than %d bytes", lineBytesMax)
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// next goes to the next record.
func (r *archiveReader) next() error {
	line, err := r.line()
	if err != nil {
		return r.broken(errors.Join(err, io.ErrUnexpectedEOF))
	}
	var of struct {
		archiveTail
		Sessions []struct {
			ID id.Session `json:"id"`
		} `json:"sessions"`
	}
	if err := json.Unmarshal(line, &of); err != nil {
		return r.broken(err)
	}
	if len(of.Sessions) == 0 {
		if _, err := r.lines.ReadByte(); err != io.EOF || of.archiveTail.Sessions != r.n {
			return r.broken(fmt.Errorf("it has %d records, and says %d", r.n, of.archiveTail.Sessions))
		}
		r.record = nil
		return nil
	}
	if of.Sessions[0].ID <= r.session {
		return r.broken(fmt.Errorf("%s stands behind %s", of.Sessions[0].ID, r.session))
	}
	r.session, r.record = of.Sessions[0].ID, bytes.TrimSuffix(line, []byte{'\n'})
	r.n++
	return nil
}

func (r *archiveReader) close() { _ = r.file.Close() }

// printOfFile is SHA-256 of a file.
func printOfFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path) // #nosec G304 -- a file that the operator names
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	_, err = io.Copy(h, f)
	h.Sum(sum[:0])
	return sum, err
}
