-- +goose Up
-- What tokens stand for. A token itself is nowhere: lookup is a keyed hash of
-- it. Items belong to a partner, whose projects share them, and lie where the
-- partner does: no batch of payouts writes them beside other rows, but for the
-- token of an account that was paid to.
CREATE TABLE items (
	partner     text COLLATE "C" NOT NULL,
	id          bigint NOT NULL,
	kind        text COLLATE "C" NOT NULL,
	project     text   NOT NULL, -- for which it was issued
	lookup      bytea  NOT NULL CHECK (length(lookup) = 32),
	shown       text   NOT NULL,
	ciphertext  bytea  NOT NULL, -- empty once wiped
	fingerprint bytea  NOT NULL,
	created_at  bigint NOT NULL,
	ends_at     bigint NOT NULL,
	deleted_at  bigint NOT NULL,
	wipe_at     bigint NOT NULL, -- 0 once wiped
	revision    bigint NOT NULL,
	PRIMARY KEY (partner, id)
);

-- Two hashes of 256 bits are never the same. It has not the partner in front,
-- so that no planner, on a table that is still small, takes it for a key.
CREATE INDEX items_by_lookup ON items (lookup);
CREATE INDEX items_wipe ON items (wipe_at) WHERE wipe_at > 0;

CREATE TABLE public_tokens (
	project    text COLLATE "C" NOT NULL,
	lookup     bytea  NOT NULL CHECK (length(lookup) = 32),
	widgets    text   NOT NULL,
	attempts   bigint NOT NULL,
	created_at bigint NOT NULL,
	ends_at    bigint NOT NULL,
	revision   bigint NOT NULL,
	PRIMARY KEY (project, lookup)
);

-- A browser shows a token and knows no project.
CREATE INDEX public_tokens_by_lookup ON public_tokens (lookup);
CREATE INDEX public_tokens_end ON public_tokens (ends_at);

-- What operators did with the vault; rows are only added.
CREATE TABLE acts (
	project text COLLATE "C" NOT NULL,
	id      bigint NOT NULL,
	at      bigint NOT NULL,
	actor   text   NOT NULL,
	what    text   NOT NULL,
	subject text   NOT NULL,
	text    text   NOT NULL,
	PRIMARY KEY (project, id)
);

-- For the newest of all projects; acts are few.
CREATE INDEX acts_newest ON acts (id);
