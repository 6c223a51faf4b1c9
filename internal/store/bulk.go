package store

import (
	"context"
	"iter"
)

// Bulk is a store that can be read and filled table by table, as it stands.
// Rows keep their form on the way, so that what one engine reads another can
// write; package codec is that form.
type Bulk interface {
	Store
	// Dump lets read see one state of the whole database, and keeps everybody
	// else from writing meanwhile. fault.Busy if somebody is at work with it: a
	// node, or a lease that has not ended.
	Dump(ctx context.Context, read func(Dump) error) error
	// Load lets write fill the database in one transaction that nobody else sees
	// a part of: all of it or, on an error, nothing. fault.WrongState if there
	// is anything in the database but its schema, fault.Busy if somebody is at
	// work with it. ErrUnknown if the answer to the COMMIT was lost: the database
	// then holds all or nothing.
	Load(ctx context.Context, write func(Load) error) error
	// Fill is Commit for changes that depend on nothing and that are many: those
	// of some thousand payouts at once. All rows are new, but the books.
	Fill(ctx context.Context, c *Changes) error
}

// Dump is a database that is read whole.
type Dump interface {
	Snapshot
	// Tables lists the tables that make up an installation, by name. Left out is
	// what only says who is at work.
	Tables(ctx context.Context) ([]Table, error)
	// Rows reads a table by its key. A row has its values in the order of the
	// table's columns: int64, string, []byte, or nil for none. It is the
	// caller's until the next one.
	Rows(ctx context.Context, t Table) iter.Seq2[[]any, error]
}

// Load is a database that is being filled. Reading sees what was written.
type Load interface {
	Dump
	// Append adds rows to a table, in the form that Rows gives them. An error of
	// rows ends it.
	Append(ctx context.Context, t Table, rows iter.Seq2[[]any, error]) error
}

// Table names a table and what it consists of.
type Table struct {
	Name    string
	Columns []string // by name
	Key     []string // the columns of the primary key, in its order
}
