-- Who may sign code, and who did.

-- publishers is a JSON list of ARNs.
CREATE TABLE code_signing_config (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	id          TEXT COLLATE "binary" NOT NULL,
	description TEXT,
	publishers  TEXT NOT NULL,
	policy      TEXT NOT NULL,
	modified    BIGINT NOT NULL,
	PRIMARY KEY (account, region, id)
);

CREATE TABLE function_code_signing (
	account  TEXT COLLATE "binary" NOT NULL,
	region   TEXT COLLATE "binary" NOT NULL,
	function TEXT COLLATE "binary" NOT NULL,
	config   TEXT COLLATE "binary" NOT NULL,
	PRIMARY KEY (account, region, function),
	FOREIGN KEY (account, region, function) REFERENCES function (account, region, name) ON DELETE CASCADE,
	FOREIGN KEY (account, region, config) REFERENCES code_signing_config (account, region, id)
);

CREATE INDEX function_code_signing_config ON function_code_signing (account, region, config, function);

-- Each row is one version of a profile. certificate is Base64 of its DER.
CREATE TABLE signing_profile (
	account     TEXT COLLATE "binary" NOT NULL,
	region      TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	version     TEXT COLLATE "binary" NOT NULL,
	certificate TEXT NOT NULL,
	created     BIGINT NOT NULL,
	revoked     BIGINT,
	PRIMARY KEY (account, region, name, version)
);

-- signature_finding is '' for archives without a signature; the other columns
-- are filled for valid ones only.
ALTER TABLE layer_version ADD COLUMN signature_finding TEXT NOT NULL DEFAULT '';

ALTER TABLE layer_version ADD COLUMN signing_profile TEXT NOT NULL DEFAULT '';

ALTER TABLE layer_version ADD COLUMN signing_job TEXT NOT NULL DEFAULT '';

ALTER TABLE layer_version ADD COLUMN signature_expires BIGINT;

ALTER TABLE function_version ADD COLUMN signing_profile TEXT NOT NULL DEFAULT '';

ALTER TABLE function_version ADD COLUMN signing_job TEXT NOT NULL DEFAULT '';
