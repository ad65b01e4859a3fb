-- event_source_mapping has no foreign key to function, which it outlives.
-- function is the ARN with the qualifier of the request, source an ARN, '' for a
-- cluster without one, config the rest as JSON.
CREATE TABLE event_source_mapping (
	account  TEXT COLLATE "binary" NOT NULL,
	region   TEXT COLLATE "binary" NOT NULL,
	uuid     TEXT COLLATE "binary" NOT NULL,
	function TEXT COLLATE "binary" NOT NULL,
	source   TEXT COLLATE "binary" NOT NULL,
	enabled  BOOLEAN NOT NULL,
	state    TEXT NOT NULL,
	modified BIGINT NOT NULL,
	config   TEXT NOT NULL,
	PRIMARY KEY (account, region, uuid)
);

CREATE INDEX event_source_mapping_function ON event_source_mapping (account, region, function, uuid);

CREATE INDEX event_source_mapping_source ON event_source_mapping (account, region, source, uuid);

CREATE INDEX event_source_mapping_under_way ON event_source_mapping (modified)
	WHERE state <> 'Enabled' AND state <> 'Disabled';

-- event_source_claim decides when two mappings of one function want the same
-- part of a source.
CREATE TABLE event_source_claim (
	account  TEXT COLLATE "binary" NOT NULL,
	region   TEXT COLLATE "binary" NOT NULL,
	function TEXT COLLATE "binary" NOT NULL,
	source   TEXT COLLATE "binary" NOT NULL,
	part     TEXT COLLATE "binary" NOT NULL,
	uuid     TEXT COLLATE "binary" NOT NULL,
	PRIMARY KEY (account, region, function, source, part),
	FOREIGN KEY (account, region, uuid) REFERENCES event_source_mapping (account, region, uuid) ON DELETE CASCADE
);

CREATE INDEX event_source_claim_mapping ON event_source_claim (account, region, uuid);
