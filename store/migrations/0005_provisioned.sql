-- provisioned has a row for each version or alias with provisioned concurrency.
-- function.provisioned is their sum, so that who reads the function needs not
-- look whether there are any.
CREATE TABLE provisioned (
	account   TEXT COLLATE "binary" NOT NULL,
	region    TEXT COLLATE "binary" NOT NULL,
	function  TEXT COLLATE "binary" NOT NULL,
	qualifier TEXT COLLATE "binary" NOT NULL,
	requested BIGINT NOT NULL,
	modified  BIGINT NOT NULL,
	PRIMARY KEY (account, region, function, qualifier),
	FOREIGN KEY (account, region, function) REFERENCES function (account, region, name) ON DELETE CASCADE
);

ALTER TABLE function ADD COLUMN provisioned BIGINT NOT NULL DEFAULT 0;

CREATE INDEX function_provisioned ON function (account, region, name, provisioned)
	WHERE provisioned > 0 AND reserved IS NULL;
