-- version is that of the last value. What a parameter is, its versions say.
CREATE TABLE parameter (
	account TEXT COLLATE "binary" NOT NULL REFERENCES account (id),
	region  TEXT COLLATE "binary" NOT NULL,
	name    TEXT COLLATE "binary" NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (account, region, name)
);

-- labels is a list. value is sealed when kind is SecureString.
CREATE TABLE parameter_version (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	version     BIGINT NOT NULL,
	kind        TEXT NOT NULL,
	value       TEXT NOT NULL,
	data_type   TEXT NOT NULL,
	tier        TEXT NOT NULL,
	description TEXT NOT NULL,
	pattern     TEXT NOT NULL,
	key_id      TEXT NOT NULL,
	labels      TEXT NOT NULL,
	modified    BIGINT NOT NULL,
	modified_by TEXT NOT NULL,
	PRIMARY KEY (account, region, name, version),
	FOREIGN KEY (account, region, name) REFERENCES parameter (account, region, name) ON DELETE CASCADE
);
