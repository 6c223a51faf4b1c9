-- +goose Up
-- Files that sessions were archived in, each written before the first session
-- that is in it was removed.
CREATE TABLE archives (
	project  text COLLATE "C" NOT NULL,
	number   bigint NOT NULL,
	file     text   NOT NULL,
	print    bytea  NOT NULL CHECK (octet_length(print) = 32),
	bytes    bigint NOT NULL,
	sessions bigint NOT NULL, -- in the file
	at       bigint NOT NULL,
	PRIMARY KEY (project, number)
);

-- What stays of a session that was archived.
CREATE TABLE archived (
	project  text COLLATE "C" NOT NULL,
	session  bigint NOT NULL,
	archive  bigint NOT NULL,
	print    bytea  NOT NULL CHECK (octet_length(print) = 32), -- of its record in the file
	state    text   NOT NULL,
	payouts  text   NOT NULL,
	events   bigint NOT NULL,
	seqs     bigint NOT NULL, -- the sum of their sequence numbers
	reserved bigint NOT NULL, -- reservations of its payouts
	entry    bigint NOT NULL, -- the last of the book when it was archived
	ended_at bigint NOT NULL,
	PRIMARY KEY (project, session)
);

-- What is removed from these makes room for what comes: vacuum must not wait
-- until a fifth of a large table is gone.
ALTER TABLE sessions SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE payouts SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
