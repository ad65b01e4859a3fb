-- letterbox is where who has its name may leave letters, until it expires: the
-- answer of a custom resource, or the signals that a wait condition waits for.
CREATE TABLE letterbox (
	name    TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	kind    TEXT NOT NULL,
	expires BIGINT NOT NULL
);

CREATE INDEX letterbox_expires ON letterbox (expires);

-- body is sealed.
CREATE TABLE letter (
	box  TEXT COLLATE "binary" NOT NULL REFERENCES letterbox (name) ON DELETE CASCADE,
	name TEXT COLLATE "binary" NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (box, name)
);
