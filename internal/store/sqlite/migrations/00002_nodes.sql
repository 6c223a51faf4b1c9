-- +goose Up

-- The numbers that make ids unique among the nodes of the installation, each
-- leased to one run of the program. The lease of a number that was given back
-- ended then.
CREATE TABLE nodes (
	number INTEGER NOT NULL PRIMARY KEY CHECK (number BETWEEN 0 AND 1023),
	owner  TEXT    NOT NULL,
	lease  INTEGER NOT NULL
) STRICT;
WITH RECURSIVE n (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM n WHERE number < 1023)
INSERT INTO nodes (number, owner, lease) SELECT number, '', 0 FROM n;
