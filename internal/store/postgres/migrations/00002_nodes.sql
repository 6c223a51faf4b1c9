-- +goose Up

-- The numbers that make ids unique among the nodes of the installation, each
-- leased to one run of the program. The lease of a number that was given back
-- ended then.
CREATE TABLE nodes (
	number bigint           NOT NULL PRIMARY KEY CHECK (number BETWEEN 0 AND 1023),
	owner  text COLLATE "C" NOT NULL,
	lease  bigint           NOT NULL
);
INSERT INTO nodes (number, owner, lease) SELECT n, '', 0 FROM generate_series(0, 1023) n;
