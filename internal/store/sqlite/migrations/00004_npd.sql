-- +goose Up
-- What projects ask the tax service about self-employed people.
CREATE TABLE npd_requests (
	project    TEXT    NOT NULL,
	id         INTEGER NOT NULL,
	question   TEXT    NOT NULL,
	message    TEXT    NOT NULL, -- the service's name of the question, '' if it has none
	answer     TEXT    NOT NULL, -- '' as long as there is none
	created_at INTEGER NOT NULL,
	ends_at    INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX npd_requests_end ON npd_requests (ends_at);
