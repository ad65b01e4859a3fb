-- One text for SQLite and PostgreSQL. Times are Unix milliseconds, digests are
-- lower-case hexadecimal, '' where there is none. Statements end with a
-- semicolon at the end of a line.
--
-- Every name has the collation "binary", so that both databases order alike.

CREATE TABLE setting (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
);

-- usage counts for the limits of an account: it is kept by the statements that
-- write versions, so that reading it does not sum them up.
CREATE TABLE usage (
	account    TEXT COLLATE "binary" NOT NULL,
	region     TEXT COLLATE "binary" NOT NULL,
	code_bytes BIGINT NOT NULL,
	functions  BIGINT NOT NULL,
	PRIMARY KEY (account, region)
);

-- layer outlives its versions: last_number never goes back.
CREATE TABLE layer (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	last_number BIGINT NOT NULL,
	PRIMARY KEY (account, region, name)
);

-- runtimes and architectures are JSON lists, NULL where the request had none.
CREATE TABLE layer_version (
	account       TEXT COLLATE "binary" NOT NULL,
	region        TEXT COLLATE "binary" NOT NULL,
	name          TEXT COLLATE "binary" NOT NULL,
	number        BIGINT NOT NULL,
	digest        TEXT COLLATE "binary" NOT NULL,
	code_size     BIGINT NOT NULL,
	unpacked_size BIGINT NOT NULL,
	description   TEXT NOT NULL,
	license       TEXT,
	runtimes      TEXT,
	architectures TEXT,
	created       BIGINT NOT NULL,
	PRIMARY KEY (account, region, name, number),
	FOREIGN KEY (account, region, name) REFERENCES layer (account, region, name)
);

CREATE INDEX layer_version_digest ON layer_version (digest);

-- layer_fit has a row for every filter that a layer version fits, both filters
-- together included; '' is the filter that was not given. A listing then finds
-- the newest fitting version of a layer by one seek, however many don't fit. It
-- has no foreign key, which would need a second index, and that is one by which
-- PostgreSQL may choose to read every version of the layer.
CREATE TABLE layer_fit (
	account      TEXT COLLATE "binary" NOT NULL,
	region       TEXT COLLATE "binary" NOT NULL,
	runtime      TEXT COLLATE "binary" NOT NULL,
	architecture TEXT COLLATE "binary" NOT NULL,
	name         TEXT COLLATE "binary" NOT NULL,
	number       BIGINT NOT NULL,
	PRIMARY KEY (account, region, runtime, architecture, name, number)
);

CREATE TABLE function (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	incarnation TEXT NOT NULL,
	last_number BIGINT NOT NULL,
	reserved    BIGINT,
	created     BIGINT NOT NULL,
	PRIMARY KEY (account, region, name)
);

CREATE INDEX function_reserved ON function (account, region, name, reserved) WHERE reserved IS NOT NULL;

-- number 0 is $LATEST.
CREATE TABLE function_version (
	account                 TEXT COLLATE "binary" NOT NULL,
	region                  TEXT COLLATE "binary" NOT NULL,
	name                    TEXT COLLATE "binary" NOT NULL,
	number                  BIGINT NOT NULL,
	incarnation             TEXT NOT NULL,
	revision                TEXT NOT NULL,
	modified                BIGINT NOT NULL,
	config                  TEXT NOT NULL,
	code_digest             TEXT COLLATE "binary" NOT NULL,
	code_size               BIGINT NOT NULL,
	unpacked_size           BIGINT NOT NULL,
	image_uri               TEXT NOT NULL,
	state                   TEXT NOT NULL,
	state_reason            TEXT NOT NULL,
	state_reason_code       TEXT NOT NULL,
	last_update             TEXT NOT NULL,
	last_update_reason      TEXT NOT NULL,
	last_update_reason_code TEXT NOT NULL,
	source                  TEXT NOT NULL,
	PRIMARY KEY (account, region, name, number),
	FOREIGN KEY (account, region, name) REFERENCES function (account, region, name) ON DELETE CASCADE
);

CREATE INDEX function_version_digest ON function_version (code_digest);

CREATE UNIQUE INDEX function_version_latest ON function_version (account, region, name) WHERE number = 0;

CREATE INDEX function_version_pending ON function_version (modified)
	WHERE (state = 'Pending' OR last_update = 'InProgress');

-- function_layer keeps the digest, which stays in use when the layer version is
-- deleted.
CREATE TABLE function_layer (
	account  TEXT COLLATE "binary" NOT NULL,
	region   TEXT COLLATE "binary" NOT NULL,
	name     TEXT COLLATE "binary" NOT NULL,
	number   BIGINT NOT NULL,
	position BIGINT NOT NULL,
	layer    TEXT COLLATE "binary" NOT NULL, -- ARN of the layer version
	digest   TEXT COLLATE "binary" NOT NULL,
	PRIMARY KEY (account, region, name, number, position),
	FOREIGN KEY (account, region, name, number)
		REFERENCES function_version (account, region, name, number) ON DELETE CASCADE
);

CREATE INDEX function_layer_digest ON function_layer (digest);

CREATE INDEX function_layer_layer ON function_layer (layer, account, region, name, number);

-- additional and weight are the second version of a weighted alias, NULL without.
CREATE TABLE alias (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	function    TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	target      TEXT COLLATE "binary" NOT NULL,
	description TEXT NOT NULL,
	revision    TEXT NOT NULL,
	additional  TEXT COLLATE "binary",
	weight      DOUBLE PRECISION,
	PRIMARY KEY (account, region, function, name),
	FOREIGN KEY (account, region, function) REFERENCES function (account, region, name) ON DELETE CASCADE
);

CREATE INDEX alias_target ON alias (account, region, function, target, name);

CREATE INDEX alias_additional ON alias (account, region, function, additional) WHERE additional IS NOT NULL;

-- statements is a JSON list; an empty one is a lock on a policy to be, and
-- counts as none.
CREATE TABLE policy (
	resource   TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	revision   TEXT NOT NULL,
	statements TEXT NOT NULL
);

CREATE TABLE tag (
	resource TEXT COLLATE "binary" NOT NULL,
	name     TEXT COLLATE "binary" NOT NULL,
	value    TEXT NOT NULL,
	PRIMARY KEY (resource, name)
);

CREATE TABLE account (
	id      TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	name    TEXT NOT NULL,
	created BIGINT NOT NULL
);

CREATE TABLE access_key (
	id        TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	secret    TEXT NOT NULL,
	account   TEXT COLLATE "binary" NOT NULL REFERENCES account (id),
	user_name TEXT NOT NULL,
	created   BIGINT NOT NULL
);

CREATE INDEX access_key_account ON access_key (account, id);

CREATE TABLE role (
	account     TEXT COLLATE "binary" NOT NULL REFERENCES account (id),
	name        TEXT COLLATE "binary" NOT NULL,
	id          TEXT COLLATE "binary" NOT NULL UNIQUE,
	path        TEXT NOT NULL,
	description TEXT NOT NULL,
	trust       TEXT NOT NULL,
	max_session BIGINT NOT NULL,
	tags        TEXT NOT NULL,
	created     BIGINT NOT NULL,
	PRIMARY KEY (account, name)
);

CREATE TABLE role_attachment (
	account TEXT COLLATE "binary" NOT NULL,
	role    TEXT COLLATE "binary" NOT NULL,
	policy  TEXT COLLATE "binary" NOT NULL, -- ARN
	PRIMARY KEY (account, role, policy),
	FOREIGN KEY (account, role) REFERENCES role (account, name) ON DELETE CASCADE
);

CREATE TABLE role_policy (
	account  TEXT COLLATE "binary" NOT NULL,
	role     TEXT COLLATE "binary" NOT NULL,
	name     TEXT COLLATE "binary" NOT NULL,
	document TEXT NOT NULL,
	PRIMARY KEY (account, role, name),
	FOREIGN KEY (account, role) REFERENCES role (account, name) ON DELETE CASCADE
);

CREATE TABLE managed_policy (
	account     TEXT COLLATE "binary" NOT NULL REFERENCES account (id),
	name        TEXT COLLATE "binary" NOT NULL,
	id          TEXT COLLATE "binary" NOT NULL UNIQUE,
	path        TEXT NOT NULL,
	description TEXT NOT NULL,
	document    TEXT NOT NULL,
	created     BIGINT NOT NULL,
	PRIMARY KEY (account, name)
);
