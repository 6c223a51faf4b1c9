-- +goose Up
-- Accounts of a project's own at the bank: what is on them, as in books, and
-- whose they are, which never changes.
CREATE TABLE accounts (
	project    text COLLATE "C" NOT NULL,
	number     text COLLATE "C" NOT NULL,
	available  bigint NOT NULL DEFAULT 0 CHECK (available >= 0),
	held       bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
	clearing   bigint NOT NULL DEFAULT 0,
	fees       bigint NOT NULL DEFAULT 0,
	deposits   bigint NOT NULL DEFAULT 0,
	suspense   bigint NOT NULL DEFAULT 0,
	owner      text   NOT NULL,
	created_at bigint NOT NULL,
	revision   bigint NOT NULL,
	PRIMARY KEY (project, number),
	CHECK (available + held + clearing + fees + deposits + suspense = 0)
) WITH (fillfactor = 20);

-- The account of its own that an entry of the project is of; '' for the balance.
ALTER TABLE entries ADD COLUMN account text NOT NULL DEFAULT '';

-- What went into own accounts and out of them, for their statements: the entries
-- themselves are many more, and an index over all of them would be read through
-- to be made.
CREATE TABLE movements (
	project text COLLATE "C" NOT NULL,
	account text COLLATE "C" NOT NULL,
	at      bigint NOT NULL,
	no      bigint NOT NULL, -- of the entry
	minor   bigint NOT NULL,
	PRIMARY KEY (project, account, at, no)
);
