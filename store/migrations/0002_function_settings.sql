-- What clients configure beside a function's code and configuration.

ALTER TABLE function ADD COLUMN recursive_loop TEXT NOT NULL DEFAULT 'Terminate';

-- qualifier is $LATEST, a number or an alias. NULLs are settings left to their
-- defaults.
CREATE TABLE event_invoke_config (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	function    TEXT COLLATE "binary" NOT NULL,
	qualifier   TEXT COLLATE "binary" NOT NULL,
	retries     BIGINT,
	age_seconds BIGINT,
	on_success  TEXT,
	on_failure  TEXT,
	modified    BIGINT NOT NULL,
	PRIMARY KEY (account, region, function, qualifier),
	FOREIGN KEY (account, region, function) REFERENCES function (account, region, name) ON DELETE CASCADE
);

-- qualifier is an alias, or '' for the function itself; there is no reference to
-- the alias, which a URL outlives. mode is '' until a client sets one; cors is
-- JSON, NULL without.
CREATE TABLE function_url (
	account   TEXT COLLATE "binary" NOT NULL,
	region    TEXT COLLATE "binary" NOT NULL,
	function  TEXT COLLATE "binary" NOT NULL,
	qualifier TEXT COLLATE "binary" NOT NULL,
	url_id    TEXT COLLATE "binary" NOT NULL UNIQUE,
	auth_type TEXT NOT NULL,
	mode      TEXT NOT NULL,
	cors      TEXT,
	created   BIGINT NOT NULL,
	modified  BIGINT NOT NULL,
	PRIMARY KEY (account, region, function, qualifier),
	FOREIGN KEY (account, region, function) REFERENCES function (account, region, name) ON DELETE CASCADE
);

-- A version without a row updates its runtime automatically. runtime_version is
-- the ARN of a release, '' but for Manual.
CREATE TABLE runtime_management (
	account         TEXT COLLATE "binary" NOT NULL,
	region          TEXT COLLATE "binary" NOT NULL,
	name            TEXT COLLATE "binary" NOT NULL,
	number          BIGINT NOT NULL,
	update_on       TEXT NOT NULL,
	runtime_version TEXT NOT NULL,
	PRIMARY KEY (account, region, name, number),
	FOREIGN KEY (account, region, name, number)
		REFERENCES function_version (account, region, name, number) ON DELETE CASCADE
);
