-- +goose Up
-- Who works in the console: of the whole installation, as settings are.
CREATE TABLE operators (
	name       text COLLATE "C" NOT NULL PRIMARY KEY,
	role       text   NOT NULL,
	password   text   NOT NULL, -- hashed
	created_at bigint NOT NULL
);

-- What a browser shows of its login is nowhere: hash is that of it. Times are
-- real. The few that there are need no index.
CREATE TABLE logins (
	hash       bytea  NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
	operator   text COLLATE "C" NOT NULL,
	created_at bigint NOT NULL,
	ends_at    bigint NOT NULL
);
