-- +goose Up
-- Accounts of a project's own at the bank: what is on them, as in books, and
-- whose they are, which never changes.
CREATE TABLE accounts (
	project    TEXT    NOT NULL,
	number     TEXT    NOT NULL,
	available  INTEGER NOT NULL DEFAULT 0 CHECK (available >= 0),
	held       INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
	clearing   INTEGER NOT NULL DEFAULT 0,
	fees       INTEGER NOT NULL DEFAULT 0,
	deposits   INTEGER NOT NULL DEFAULT 0,
	suspense   INTEGER NOT NULL DEFAULT 0,
	owner      TEXT    NOT NULL,
	created_at INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	PRIMARY KEY (project, number),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
) STRICT, WITHOUT ROWID;

-- The account of its own that an entry of the project is of; '' for the balance.
ALTER TABLE entries ADD COLUMN account TEXT NOT NULL DEFAULT '';

-- What went into own accounts and out of them, for their statements: the entries
-- themselves are many more, and an index over all of them would be read through
-- to be made.
CREATE TABLE movements (
	project TEXT    NOT NULL,
	account TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	no      INTEGER NOT NULL, -- of the entry
	minor   INTEGER NOT NULL,
	PRIMARY KEY (project, account, at, no)
) STRICT, WITHOUT ROWID;
