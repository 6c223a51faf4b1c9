-- +goose Up

-- What self-employed people earn, by person and calendar year in Moscow. The
-- law limits it whoever pays, so these two tables lie by person and not by
-- project; a command that writes them writes nothing else.
CREATE TABLE incomes (
	inn        text COLLATE "C" NOT NULL,
	year       bigint NOT NULL,
	held       bigint NOT NULL CHECK (held >= 0),
	asked      bigint NOT NULL CHECK (asked >= 0),
	registered bigint NOT NULL CHECK (registered >= 0),
	revision   bigint NOT NULL,
	PRIMARY KEY (inn, year)
) WITH (fillfactor = 50);

-- What each payout has reserved of it.
CREATE TABLE reservations (
	inn       text COLLATE "C" NOT NULL,
	year      bigint NOT NULL,
	payout    bigint NOT NULL,
	project   text   NOT NULL,
	session   bigint NOT NULL,
	minor     bigint NOT NULL CHECK (minor > 0),
	state     text   NOT NULL,
	earned_at bigint NOT NULL, -- 0 before the tax service was asked
	receipt   text   NOT NULL,
	PRIMARY KEY (inn, year, payout)
);

-- For the comparison of a day.
CREATE INDEX reservations_earned ON reservations (earned_at) WHERE earned_at > 0;
