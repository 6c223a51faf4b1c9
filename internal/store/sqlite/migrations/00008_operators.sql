-- +goose Up
-- Who works in the console: of the whole installation, as settings are.
CREATE TABLE operators (
	name       TEXT    NOT NULL PRIMARY KEY,
	role       TEXT    NOT NULL,
	password   TEXT    NOT NULL, -- hashed
	created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a browser shows of its login is nowhere: hash is that of it. Times are
-- real. The few that there are need no index.
CREATE TABLE logins (
	hash       BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
	operator   TEXT    NOT NULL,
	created_at INTEGER NOT NULL,
	ends_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
