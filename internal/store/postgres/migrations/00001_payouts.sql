-- +goose Up
-- What one project owns has the project first in its key, so that the tables
-- can be spread over machines by it. Numbers that name things are made by the
-- program: there is no sequence, no trigger, no default that calls a function.
-- Times are microseconds since 1970 in UTC, and 0 is no time. Amounts are
-- kopecks. Documents are JSON that nothing searches, hence text.
--
-- Names compare byte by byte, whatever the database's collation is: that is
-- the order which the program expects, and no update of the system's locales
-- can break an index over them.
--
-- No foreign keys: they are triggers, a look-up for each row. What they would
-- prove, a command proves that has read the row under a lock.

CREATE TABLE projects (
	id       text COLLATE "C" NOT NULL PRIMARY KEY,
	revision bigint           NOT NULL,
	doc      text             NOT NULL
);

-- One row: it changes whenever any project does.
CREATE TABLE projects_revision (
	one      smallint NOT NULL PRIMARY KEY CHECK (one = 1),
	revision bigint   NOT NULL
);
INSERT INTO projects_revision (one, revision) VALUES (1, 0);

CREATE TABLE settings (
	name  text COLLATE "C" NOT NULL PRIMARY KEY,
	value bytea            NOT NULL
);

-- Each batch changes a book. A page that is mostly empty has room for the next
-- version of the row beside the last one, and no index has to follow.
CREATE TABLE books (
	project   text COLLATE "C" NOT NULL PRIMARY KEY,
	available bigint NOT NULL DEFAULT 0,
	held      bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
	clearing  bigint NOT NULL DEFAULT 0,
	fees      bigint NOT NULL DEFAULT 0,
	deposits  bigint NOT NULL DEFAULT 0,
	suspense  bigint NOT NULL DEFAULT 0,
	credit    bigint NOT NULL DEFAULT 0 CHECK (credit >= 0),
	entries   bigint NOT NULL DEFAULT 0,
	hash      bytea  NOT NULL CHECK (octet_length(hash) = 32),
	events    bigint NOT NULL DEFAULT 0,
	revision  bigint NOT NULL,
	CHECK (available >= -credit),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
) WITH (fillfactor = 20);

-- The account clearing of a book, by the rail that has the money.
CREATE TABLE clearing (
	project text COLLATE "C" NOT NULL,
	rail    text COLLATE "C" NOT NULL,
	minor   bigint           NOT NULL,
	PRIMARY KEY (project, rail)
) WITH (fillfactor = 20);

CREATE TABLE entries (
	project   text COLLATE "C" NOT NULL,
	no        bigint NOT NULL CHECK (no > 0),
	kind      text   NOT NULL,
	session   bigint NOT NULL,
	payout    bigint NOT NULL,
	rail      text   NOT NULL,
	reference text   NOT NULL,
	available bigint NOT NULL,
	held      bigint NOT NULL,
	clearing  bigint NOT NULL,
	fees      bigint NOT NULL,
	deposits  bigint NOT NULL,
	suspense  bigint NOT NULL,
	at        bigint NOT NULL,
	hash      bytea  NOT NULL CHECK (octet_length(hash) = 32),
	PRIMARY KEY (project, no),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
);

CREATE TABLE sessions (
	project    text COLLATE "C" NOT NULL,
	id         bigint NOT NULL,
	version    bigint NOT NULL,
	state      text   NOT NULL,
	draft      text   NOT NULL, -- '' for none
	events     bigint NOT NULL,
	fence      bigint NOT NULL,
	revision   bigint NOT NULL,
	created_at bigint NOT NULL,
	updated_at bigint NOT NULL,
	PRIMARY KEY (project, id)
) WITH (fillfactor = 70);

-- details is written once; progress has what changes on the way, but for the state.
CREATE TABLE payouts (
	project    text COLLATE "C" NOT NULL,
	session    bigint NOT NULL,
	no         bigint NOT NULL, -- 1, 2 …: the order within the session
	id         bigint NOT NULL,
	state      text   NOT NULL,
	details    text   NOT NULL,
	progress   text   NOT NULL,
	created_at bigint NOT NULL,
	PRIMARY KEY (project, session, no)
) WITH (fillfactor = 70);

CREATE TABLE attempts (
	project   text COLLATE "C" NOT NULL,
	session   bigint NOT NULL,
	payout    bigint NOT NULL,
	no        bigint NOT NULL,
	rail      text COLLATE "C" NOT NULL,
	reference text COLLATE "C" NOT NULL,
	outcome   text   NOT NULL,
	sent_at   bigint NOT NULL,
	ended_at  bigint NOT NULL,
	PRIMARY KEY (project, session, payout, no),
	UNIQUE (project, rail, reference, no)
);

-- Money leaves once: no payout has two accepted attempts.
CREATE UNIQUE INDEX attempts_accepted ON attempts (project, session, payout) WHERE outcome = 'accepted';

CREATE TABLE cards (
	project     text COLLATE "C" NOT NULL,
	id          bigint NOT NULL,
	ciphertext  bytea  NOT NULL,
	fingerprint bytea  NOT NULL,
	created_at  bigint NOT NULL,
	PRIMARY KEY (project, id)
);

CREATE TABLE keys (
	project text COLLATE "C" NOT NULL,
	scope   text COLLATE "C" NOT NULL,
	key     text COLLATE "C" NOT NULL,
	print   bytea  NOT NULL CHECK (octet_length(print) = 32),
	answer  text   NOT NULL,
	at      bigint NOT NULL,
	PRIMARY KEY (project, scope, key)
);

CREATE TABLE events (
	project    text COLLATE "C" NOT NULL,
	session    bigint NOT NULL,
	n          bigint NOT NULL,
	id         bigint NOT NULL,
	seq        bigint NOT NULL,
	type       text   NOT NULL,
	body       text   NOT NULL,
	signature  text   NOT NULL,
	status     text   NOT NULL,
	attempts   bigint NOT NULL,
	created_at bigint NOT NULL,
	due        bigint NOT NULL,
	owner      text   NOT NULL,
	lease      bigint NOT NULL,
	PRIMARY KEY (project, session, n)
);

-- It holds what is still to be delivered and nothing else.
CREATE INDEX events_due ON events (due) WHERE status = 'pending';

CREATE TABLE deliveries (
	project text COLLATE "C" NOT NULL,
	session bigint NOT NULL,
	n       bigint NOT NULL,
	no      bigint NOT NULL,
	at      bigint NOT NULL,
	took    bigint NOT NULL, -- nanoseconds
	status  bigint NOT NULL,
	error   text   NOT NULL,
	PRIMARY KEY (project, session, n, no)
);

-- A row is gone when its task is done, so the table and both its indexes hold
-- what is under way. Rows come and go all the time: vacuum comes early.
CREATE TABLE tasks (
	project text COLLATE "C" NOT NULL,
	session bigint NOT NULL,
	payout  bigint NOT NULL,
	kind    text COLLATE "C" NOT NULL,
	due     bigint NOT NULL,
	attempt bigint NOT NULL,
	owner   text   NOT NULL,
	lease   bigint NOT NULL,
	PRIMARY KEY (project, session, payout, kind)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

CREATE INDEX tasks_due ON tasks (due);

CREATE TABLE alarms (
	project text COLLATE "C" NOT NULL,
	id      bigint NOT NULL,
	session bigint NOT NULL,
	payout  bigint NOT NULL,
	kind    text   NOT NULL,
	text    text   NOT NULL,
	at      bigint NOT NULL,
	PRIMARY KEY (project, id)
);

-- For the newest of all projects; alarms are few.
CREATE INDEX alarms_newest ON alarms (id);

-- The batches of the last day: the answer to a lost COMMIT. project is that of
-- the batch's first row, so that a batch of one project stays on one machine.
-- written is false for a batch whose COMMIT was lost before it arrived: the row
-- stands there so that it can't arrive later.
CREATE TABLE batches (
	project text COLLATE "C" NOT NULL,
	id      bigint  NOT NULL,
	written boolean NOT NULL,
	PRIMARY KEY (project, id)
);

CREATE INDEX batches_by_id ON batches (id);
