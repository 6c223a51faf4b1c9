-- +goose Up
-- What projects ask the tax service about self-employed people.
CREATE TABLE npd_requests (
	project    text COLLATE "C" NOT NULL,
	id         bigint NOT NULL,
	question   text   NOT NULL,
	message    text   NOT NULL, -- the service's name of the question, '' if it has none
	answer     text   NOT NULL, -- '' as long as there is none
	created_at bigint NOT NULL,
	ends_at    bigint NOT NULL,
	revision   bigint NOT NULL,
	PRIMARY KEY (project, id)
);

CREATE INDEX npd_requests_end ON npd_requests (ends_at);
