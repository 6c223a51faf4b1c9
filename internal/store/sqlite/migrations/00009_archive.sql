-- +goose Up
-- Files that sessions were archived in, each written before the first session
-- that is in it was removed.
CREATE TABLE archives (
	project  TEXT    NOT NULL,
	number   INTEGER NOT NULL,
	file     TEXT    NOT NULL,
	print    BLOB    NOT NULL CHECK (length(print) = 32),
	bytes    INTEGER NOT NULL,
	sessions INTEGER NOT NULL, -- in the file
	at       INTEGER NOT NULL,
	PRIMARY KEY (project, number)
) STRICT, WITHOUT ROWID;

-- What stays of a session that was archived.
CREATE TABLE archived (
	project  TEXT    NOT NULL,
	session  INTEGER NOT NULL,
	archive  INTEGER NOT NULL,
	print    BLOB    NOT NULL CHECK (length(print) = 32), -- of its record in the file
	state    TEXT    NOT NULL,
	payouts  TEXT    NOT NULL,
	events   INTEGER NOT NULL,
	seqs     INTEGER NOT NULL, -- the sum of their sequence numbers
	reserved INTEGER NOT NULL, -- reservations of its payouts
	entry    INTEGER NOT NULL, -- the last of the book when it was archived
	ended_at INTEGER NOT NULL,
	PRIMARY KEY (project, session)
) STRICT, WITHOUT ROWID;
