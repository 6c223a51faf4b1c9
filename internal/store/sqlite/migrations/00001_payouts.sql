-- +goose Up
-- What one project owns has the project first in its key. Numbers that name
-- things are made by the program. Times are microseconds since 1970 in UTC, and
-- 0 is no time. Amounts are kopecks. Documents are JSON that nothing searches.
-- Tables whose rows are short live in their primary key (WITHOUT ROWID); those
-- with documents do not, so that the pages above the leaves stay dense.

CREATE TABLE projects (
	id       TEXT    NOT NULL PRIMARY KEY,
	revision INTEGER NOT NULL,
	doc      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: it changes whenever any project does.
CREATE TABLE projects_revision (
	one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	revision INTEGER NOT NULL
) STRICT;
INSERT INTO projects_revision (one, revision) VALUES (1, 0);

CREATE TABLE settings (
	name  TEXT NOT NULL PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE books (
	project   TEXT    NOT NULL PRIMARY KEY,
	available INTEGER NOT NULL DEFAULT 0,
	held      INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
	clearing  INTEGER NOT NULL DEFAULT 0,
	fees      INTEGER NOT NULL DEFAULT 0,
	deposits  INTEGER NOT NULL DEFAULT 0,
	suspense  INTEGER NOT NULL DEFAULT 0,
	credit    INTEGER NOT NULL DEFAULT 0 CHECK (credit >= 0),
	entries   INTEGER NOT NULL DEFAULT 0,
	hash      BLOB    NOT NULL CHECK (length(hash) = 32),
	events    INTEGER NOT NULL DEFAULT 0,
	revision  INTEGER NOT NULL,
	CHECK (available >= -credit),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
) STRICT, WITHOUT ROWID;

-- The account clearing of a book, by the rail that has the money.
CREATE TABLE clearing (
	project TEXT    NOT NULL,
	rail    TEXT    NOT NULL,
	minor   INTEGER NOT NULL,
	PRIMARY KEY (project, rail)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
	project   TEXT    NOT NULL,
	no        INTEGER NOT NULL CHECK (no > 0),
	kind      TEXT    NOT NULL,
	session   INTEGER NOT NULL,
	payout    INTEGER NOT NULL,
	rail      TEXT    NOT NULL,
	reference TEXT    NOT NULL,
	available INTEGER NOT NULL,
	held      INTEGER NOT NULL,
	clearing  INTEGER NOT NULL,
	fees      INTEGER NOT NULL,
	deposits  INTEGER NOT NULL,
	suspense  INTEGER NOT NULL,
	at        INTEGER NOT NULL,
	hash      BLOB    NOT NULL CHECK (length(hash) = 32),
	PRIMARY KEY (project, no),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	project    TEXT    NOT NULL,
	id         INTEGER NOT NULL,
	version    INTEGER NOT NULL,
	state      TEXT    NOT NULL,
	draft      TEXT    NOT NULL, -- '' for none
	events     INTEGER NOT NULL,
	fence      INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

-- details is written once; progress has what changes on the way, but for the state.
CREATE TABLE payouts (
	project    TEXT    NOT NULL,
	session    INTEGER NOT NULL,
	no         INTEGER NOT NULL, -- 1, 2 …: the order within the session
	id         INTEGER NOT NULL,
	state      TEXT    NOT NULL,
	details    TEXT    NOT NULL,
	progress   TEXT    NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (project, session, no)
) STRICT;

CREATE TABLE attempts (
	project   TEXT    NOT NULL,
	session   INTEGER NOT NULL,
	payout    INTEGER NOT NULL,
	no        INTEGER NOT NULL,
	rail      TEXT    NOT NULL,
	reference TEXT    NOT NULL,
	outcome   TEXT    NOT NULL,
	sent_at   INTEGER NOT NULL,
	ended_at  INTEGER NOT NULL,
	PRIMARY KEY (project, session, payout, no),
	UNIQUE (project, rail, reference, no)
) STRICT, WITHOUT ROWID;

-- Money leaves once: no payout has two accepted attempts.
CREATE UNIQUE INDEX attempts_accepted ON attempts (project, session, payout) WHERE outcome = 'accepted';

CREATE TABLE cards (
	project     TEXT    NOT NULL,
	id          INTEGER NOT NULL,
	ciphertext  BLOB    NOT NULL,
	fingerprint BLOB    NOT NULL,
	created_at  INTEGER NOT NULL,
	PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
	project TEXT    NOT NULL,
	scope   TEXT    NOT NULL,
	key     TEXT    NOT NULL,
	print   BLOB    NOT NULL CHECK (length(print) = 32),
	answer  TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	PRIMARY KEY (project, scope, key)
) STRICT;

CREATE TABLE events (
	project    TEXT    NOT NULL,
	session    INTEGER NOT NULL,
	n          INTEGER NOT NULL,
	id         INTEGER NOT NULL,
	seq        INTEGER NOT NULL,
	type       TEXT    NOT NULL,
	body       TEXT    NOT NULL,
	signature  TEXT    NOT NULL,
	status     TEXT    NOT NULL,
	attempts   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	due        INTEGER NOT NULL,
	owner      TEXT    NOT NULL,
	lease      INTEGER NOT NULL,
	PRIMARY KEY (project, session, n)
) STRICT;

CREATE INDEX events_due ON events (due) WHERE status = 'pending';

CREATE TABLE deliveries (
	project TEXT    NOT NULL,
	session INTEGER NOT NULL,
	n       INTEGER NOT NULL,
	no      INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	took    INTEGER NOT NULL, -- nanoseconds
	status  INTEGER NOT NULL,
	error   TEXT    NOT NULL,
	PRIMARY KEY (project, session, n, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
	project TEXT    NOT NULL,
	session INTEGER NOT NULL,
	payout  INTEGER NOT NULL,
	kind    TEXT    NOT NULL,
	due     INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	owner   TEXT    NOT NULL,
	lease   INTEGER NOT NULL,
	PRIMARY KEY (project, session, payout, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX tasks_due ON tasks (due);

CREATE TABLE alarms (
	project TEXT    NOT NULL,
	id      INTEGER NOT NULL,
	session INTEGER NOT NULL,
	payout  INTEGER NOT NULL,
	kind    TEXT    NOT NULL,
	text    TEXT    NOT NULL,
	at      INTEGER NOT NULL,
	PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

-- For the newest of all projects; alarms are few.
CREATE INDEX alarms_newest ON alarms (id);

-- The batches that were written, for a day: the answer to a lost COMMIT.
CREATE TABLE batches (
	id INTEGER NOT NULL PRIMARY KEY
) STRICT;
