-- +goose Up

-- What self-employed people earn, by person and calendar year in Moscow. The
-- law limits it whoever pays, so these two tables lie by person and not by
-- project; a command that writes them writes nothing else.
CREATE TABLE incomes (
	inn        TEXT    NOT NULL,
	year       INTEGER NOT NULL,
	held       INTEGER NOT NULL CHECK (held >= 0),
	asked      INTEGER NOT NULL CHECK (asked >= 0),
	registered INTEGER NOT NULL CHECK (registered >= 0),
	revision   INTEGER NOT NULL,
	PRIMARY KEY (inn, year)
) STRICT, WITHOUT ROWID;

-- What each payout has reserved of it.
CREATE TABLE reservations (
	inn       TEXT    NOT NULL,
	year      INTEGER NOT NULL,
	payout    INTEGER NOT NULL,
	project   TEXT    NOT NULL,
	session   INTEGER NOT NULL,
	minor     INTEGER NOT NULL CHECK (minor > 0),
	state     TEXT    NOT NULL,
	earned_at INTEGER NOT NULL, -- 0 before the tax service was asked
	receipt   TEXT    NOT NULL,
	PRIMARY KEY (inn, year, payout)
) STRICT, WITHOUT ROWID;

-- For the comparison of a day.
CREATE INDEX reservations_earned ON reservations (earned_at) WHERE earned_at > 0;
