-- Buckets of the embedded S3. What is in them is on the disk.

CREATE TABLE bucket (
	name    TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	account TEXT COLLATE "binary" NOT NULL,
	region  TEXT COLLATE "binary" NOT NULL,
	created BIGINT NOT NULL
);

CREATE INDEX bucket_account ON bucket (account, name);

-- What is configured about a bucket, by the query parameter that S3 has for it.
CREATE TABLE bucket_document (
	bucket TEXT COLLATE "binary" NOT NULL REFERENCES bucket (name) ON DELETE CASCADE,
	kind   TEXT COLLATE "binary" NOT NULL,
	text   TEXT NOT NULL,
	PRIMARY KEY (bucket, kind)
);
