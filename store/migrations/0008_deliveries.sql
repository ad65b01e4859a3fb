-- What the last run of an event came to, for the record about its end: the version
-- that ran, '' before the first run; its error, '' without one; its response, JSON.
-- trace is the X-Amzn-Trace-Id that the event came with.
ALTER TABLE event ADD COLUMN trace TEXT NOT NULL DEFAULT '';

ALTER TABLE event ADD COLUMN executed TEXT NOT NULL DEFAULT '';

ALTER TABLE event ADD COLUMN function_error TEXT NOT NULL DEFAULT '';

ALTER TABLE event ADD COLUMN response TEXT NOT NULL DEFAULT '';

-- delivery is a message about the end of an event, on its way to a destination or
-- a dead-letter target. Due and owner are as those of an event; a message that
-- has arrived, or that is given up, has no row. attributes is a JSON list.
CREATE TABLE delivery (
	id         TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	kind       TEXT NOT NULL,
	request_id TEXT COLLATE "binary" NOT NULL,
	account    TEXT COLLATE "binary" NOT NULL,
	region     TEXT COLLATE "binary" NOT NULL,
	function   TEXT COLLATE "binary" NOT NULL,
	qualifier  TEXT COLLATE "binary" NOT NULL,
	service    TEXT COLLATE "binary" NOT NULL, -- of the target
	target     TEXT COLLATE "binary" NOT NULL, -- ARN
	body       TEXT NOT NULL,
	attributes TEXT NOT NULL,
	trace      TEXT NOT NULL,
	created    BIGINT NOT NULL,
	attempts   BIGINT NOT NULL,
	due        BIGINT NOT NULL,
	owner      TEXT COLLATE "binary" NOT NULL
);

CREATE INDEX delivery_due ON delivery (service, due, id);

CREATE INDEX delivery_owner ON delivery (owner) WHERE owner <> '';

-- delivery_backlog is to deliveries what event_backlog is to events.
CREATE TABLE delivery_backlog (
	account    TEXT COLLATE "binary" NOT NULL,
	region     TEXT COLLATE "binary" NOT NULL,
	deliveries BIGINT NOT NULL,
	bytes      BIGINT NOT NULL,
	PRIMARY KEY (account, region)
);

-- directory is the host's directory that is shown as it is, '' for an archive.
ALTER TABLE function_version ADD COLUMN directory TEXT COLLATE "binary" NOT NULL DEFAULT '';

ALTER TABLE layer_version ADD COLUMN directory TEXT COLLATE "binary" NOT NULL DEFAULT '';
