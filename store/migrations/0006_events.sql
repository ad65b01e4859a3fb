-- event is an asynchronous invocation. While condition is '' it waits or runs:
-- whoever finds it due makes itself its owner and moves due ahead, again and
-- again while it runs, so that the event of a dead owner becomes due by itself.
-- Afterwards condition says how it ended, finished when, and the payload is gone.
CREATE TABLE event (
	request_id     TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	account        TEXT COLLATE "binary" NOT NULL,
	region         TEXT COLLATE "binary" NOT NULL,
	function       TEXT COLLATE "binary" NOT NULL,
	qualifier      TEXT COLLATE "binary" NOT NULL,
	payload        TEXT NOT NULL,
	client_context TEXT NOT NULL,
	accepted       BIGINT NOT NULL,
	attempts       BIGINT NOT NULL,
	deferrals      BIGINT NOT NULL,
	due            BIGINT NOT NULL,
	owner          TEXT COLLATE "binary" NOT NULL,
	condition      TEXT NOT NULL,
	finished       BIGINT
);

-- The function is in it, so that the events of a busy one are passed over without
-- reading their rows.
CREATE INDEX event_due ON event (due, request_id, account, region, function) WHERE finished IS NULL;

CREATE INDEX event_owner ON event (owner) WHERE owner <> '';

CREATE INDEX event_finished ON event (finished, request_id) WHERE finished IS NOT NULL;

-- event_backlog counts what waits and runs, for the bound on it. It is kept by
-- the statements that write events.
CREATE TABLE event_backlog (
	account TEXT COLLATE "binary" NOT NULL,
	region  TEXT COLLATE "binary" NOT NULL,
	events  BIGINT NOT NULL,
	bytes   BIGINT NOT NULL,
	PRIMARY KEY (account, region)
);
