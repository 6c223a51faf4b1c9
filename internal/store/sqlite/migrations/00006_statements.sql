-- +goose Up
-- Statements of rails. A rail knows no project, so what is of a whole statement
-- belongs to the installation; no payout writes any of it.
CREATE TABLE statements (
	rail    TEXT    NOT NULL,
	id      TEXT    NOT NULL, -- the rail's name of it
	number  INTEGER NOT NULL,
	print   BLOB    NOT NULL CHECK (length(print) = 32),
	from_at INTEGER NOT NULL,
	to_at   INTEGER NOT NULL,
	state   TEXT    NOT NULL,
	summary TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	PRIMARY KEY (rail, id)
) STRICT;

CREATE INDEX statements_by_number ON statements (number);

-- By payment: a later statement asks what earlier ones have told of it.
CREATE TABLE statement_lines (
	project   TEXT    NOT NULL, -- '' where nobody knows the payment
	rail      TEXT    NOT NULL,
	reference TEXT    NOT NULL,
	statement INTEGER NOT NULL,
	no        INTEGER NOT NULL,
	kind      TEXT    NOT NULL,
	rail_id   TEXT    NOT NULL,
	minor     INTEGER NOT NULL,
	currency  TEXT    NOT NULL,
	at        INTEGER NOT NULL,
	PRIMARY KEY (project, rail, reference, statement, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE statement_differences (
	statement       INTEGER NOT NULL,
	no              INTEGER NOT NULL,
	kind            TEXT    NOT NULL,
	project         TEXT    NOT NULL,
	session         INTEGER NOT NULL,
	payout          INTEGER NOT NULL,
	line            INTEGER NOT NULL,
	reference       TEXT    NOT NULL,
	rail_id         TEXT    NOT NULL,
	theirs_minor    INTEGER NOT NULL,
	theirs_currency TEXT    NOT NULL,
	ours_minor      INTEGER NOT NULL,
	ours_currency   TEXT    NOT NULL,
	text            TEXT    NOT NULL,
	at              INTEGER NOT NULL,
	PRIMARY KEY (statement, no)
) STRICT, WITHOUT ROWID;
