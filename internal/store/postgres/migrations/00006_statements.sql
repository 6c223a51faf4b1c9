-- +goose Up
-- Statements of rails. A rail knows no project, so what is of a whole statement
-- belongs to the installation; no payout writes any of it.
CREATE TABLE statements (
	rail    text COLLATE "C" NOT NULL,
	id      text COLLATE "C" NOT NULL, -- the rail's name of it
	number  bigint NOT NULL,
	print   bytea  NOT NULL CHECK (octet_length(print) = 32),
	from_at bigint NOT NULL,
	to_at   bigint NOT NULL,
	state   text   NOT NULL,
	summary text   NOT NULL,
	at      bigint NOT NULL,
	PRIMARY KEY (rail, id)
);

CREATE INDEX statements_by_number ON statements (number);

-- By payment: a later statement asks what earlier ones have told of it.
CREATE TABLE statement_lines (
	project   text COLLATE "C" NOT NULL, -- '' where nobody knows the payment
	rail      text COLLATE "C" NOT NULL,
	reference text COLLATE "C" NOT NULL,
	statement bigint NOT NULL,
	no        bigint NOT NULL,
	kind      text   NOT NULL,
	rail_id   text   NOT NULL,
	minor     bigint NOT NULL,
	currency  text   NOT NULL,
	at        bigint NOT NULL,
	PRIMARY KEY (project, rail, reference, statement, no)
);

CREATE TABLE statement_differences (
	statement       bigint NOT NULL,
	no              bigint NOT NULL,
	kind            text   NOT NULL,
	project         text   NOT NULL,
	session         bigint NOT NULL,
	payout          bigint NOT NULL,
	line            bigint NOT NULL,
	reference       text   NOT NULL,
	rail_id         text   NOT NULL,
	theirs_minor    bigint NOT NULL,
	theirs_currency text   NOT NULL,
	ours_minor      bigint NOT NULL,
	ours_currency   text   NOT NULL,
	text            text   NOT NULL,
	at              bigint NOT NULL,
	PRIMARY KEY (statement, no)
);
