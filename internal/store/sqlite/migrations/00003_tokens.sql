-- +goose Up
-- What tokens stand for. A token itself is nowhere: lookup is a keyed hash of
-- it. Items belong to a partner, whose projects share them.
CREATE TABLE items (
	partner     TEXT    NOT NULL,
	id          INTEGER NOT NULL,
	kind        TEXT    NOT NULL,
	project     TEXT    NOT NULL, -- for which it was issued
	lookup      BLOB    NOT NULL CHECK (length(lookup) = 32),
	shown       TEXT    NOT NULL,
	ciphertext  BLOB    NOT NULL, -- empty once wiped
	fingerprint BLOB    NOT NULL,
	created_at  INTEGER NOT NULL,
	ends_at     INTEGER NOT NULL,
	deleted_at  INTEGER NOT NULL,
	wipe_at     INTEGER NOT NULL, -- 0 once wiped
	revision    INTEGER NOT NULL,
	PRIMARY KEY (partner, id)
) STRICT, WITHOUT ROWID;

-- Two hashes of 256 bits are never the same. It has not the partner in front,
-- so that no planner, on a table that is still small, takes it for a key.
CREATE INDEX items_by_lookup ON items (lookup);
CREATE INDEX items_wipe ON items (wipe_at) WHERE wipe_at > 0;

CREATE TABLE public_tokens (
	project    TEXT    NOT NULL,
	lookup     BLOB    NOT NULL CHECK (length(lookup) = 32),
	widgets    TEXT    NOT NULL,
	attempts   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	ends_at    INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	PRIMARY KEY (project, lookup)
) STRICT, WITHOUT ROWID;

-- A browser shows a token and knows no project.
CREATE INDEX public_tokens_by_lookup ON public_tokens (lookup);
CREATE INDEX public_tokens_end ON public_tokens (ends_at);

-- What operators did with the vault; rows are only added.
CREATE TABLE acts (
	project TEXT    NOT NULL,
	id      INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	actor   TEXT    NOT NULL,
	what    TEXT    NOT NULL,
	subject TEXT    NOT NULL,
	text    TEXT    NOT NULL,
	PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

-- For the newest of all projects; acts are few.
CREATE INDEX acts_newest ON acts (id);

-- +goose StatementBegin
CREATE TRIGGER acts_stay BEFORE UPDATE ON acts BEGIN SELECT RAISE(ABORT, 'acts are only added'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER acts_remain BEFORE DELETE ON acts BEGIN SELECT RAISE(ABORT, 'acts are only added'); END;
-- +goose StatementEnd
