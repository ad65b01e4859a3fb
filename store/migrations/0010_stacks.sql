-- stack is a stack of CloudFormation. Times are 0 for never; deleted ones keep
-- their rows for a while. settings and operation are JSON, sealed; operation is ''
-- when none is under way. While one is, due is set: whoever finds the stack due
-- makes itself its owner and moves due ahead, again and again while it works, so
-- that the stack of a dead owner becomes due by itself. signal asks the owner to
-- do something else. event and event_time are those of the stack's newest event.
CREATE TABLE stack (
	id         TEXT COLLATE "binary" NOT NULL PRIMARY KEY, -- ARN
	account    TEXT COLLATE "binary" NOT NULL,
	region     TEXT COLLATE "binary" NOT NULL,
	name       TEXT COLLATE "binary" NOT NULL,
	status     TEXT NOT NULL,
	reason     TEXT NOT NULL,
	created    BIGINT NOT NULL,
	updated    BIGINT NOT NULL,
	deleted    BIGINT NOT NULL,
	parent     TEXT COLLATE "binary" NOT NULL, -- ARN of the stack that it is nested in, or ''
	root       TEXT COLLATE "binary" NOT NULL, -- and of the outermost one
	settings   TEXT NOT NULL,
	operation  TEXT NOT NULL,
	signal     TEXT NOT NULL,
	due        BIGINT,
	owner      TEXT COLLATE "binary" NOT NULL,
	event      BIGINT NOT NULL,
	event_time BIGINT NOT NULL
);

CREATE UNIQUE INDEX stack_name ON stack (account, region, name) WHERE deleted = 0;

CREATE INDEX stack_created ON stack (account, region, created, id);

CREATE INDEX stack_due ON stack (due, id) WHERE due IS NOT NULL;

CREATE INDEX stack_owner ON stack (owner) WHERE owner <> '';

CREATE INDEX stack_parent ON stack (parent, id) WHERE parent <> '';

CREATE INDEX stack_deleted ON stack (deleted, id) WHERE deleted <> 0;

-- stack_template is a template that a stack or one of its change sets has, by its
-- SHA-256. processed is '' when it is the original.
CREATE TABLE stack_template (
	stack     TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	digest    TEXT COLLATE "binary" NOT NULL,
	original  TEXT NOT NULL,
	processed TEXT NOT NULL,
	PRIMARY KEY (stack, digest)
);

-- stack_resource is one physical resource. A logical one has several while it is
-- replaced: generation tells them apart, standing which of them is the stack's
-- (live), which was it before (replaced), and what is to be deleted (leftover).
-- state is JSON, sealed.
CREATE TABLE stack_resource (
	stack       TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	logical_id  TEXT COLLATE "binary" NOT NULL,
	generation  BIGINT NOT NULL,
	type        TEXT COLLATE "binary" NOT NULL,
	physical_id TEXT COLLATE "binary" NOT NULL,
	standing    TEXT NOT NULL,
	status      TEXT NOT NULL,
	reason      TEXT NOT NULL,
	updated     BIGINT NOT NULL,
	state       TEXT NOT NULL,
	PRIMARY KEY (stack, logical_id, generation)
);

CREATE INDEX stack_resource_physical ON stack_resource (physical_id, stack) WHERE physical_id <> '';

CREATE TABLE stack_event (
	stack       TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	number      BIGINT NOT NULL,
	id          TEXT COLLATE "binary" NOT NULL,
	time        BIGINT NOT NULL,
	logical_id  TEXT NOT NULL,
	physical_id TEXT NOT NULL,
	type        TEXT NOT NULL,
	status      TEXT NOT NULL,
	reason      TEXT NOT NULL,
	token       TEXT NOT NULL,
	properties  TEXT NOT NULL, -- JSON, masked; '' without
	PRIMARY KEY (stack, number)
);

CREATE INDEX stack_event_time ON stack_event (time);

-- detail is JSON, sealed.
CREATE TABLE stack_change_set (
	id        TEXT COLLATE "binary" NOT NULL PRIMARY KEY, -- ARN
	stack     TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	name      TEXT COLLATE "binary" NOT NULL,
	status    TEXT NOT NULL,
	execution TEXT NOT NULL,
	reason    TEXT NOT NULL,
	created   BIGINT NOT NULL,
	detail    TEXT NOT NULL
);

CREATE UNIQUE INDEX stack_change_set_name ON stack_change_set (stack, name);

-- value is sealed.
CREATE TABLE stack_export (
	account TEXT COLLATE "binary" NOT NULL,
	region  TEXT COLLATE "binary" NOT NULL,
	name    TEXT COLLATE "binary" NOT NULL,
	stack   TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	value   TEXT NOT NULL,
	PRIMARY KEY (account, region, name)
);

CREATE INDEX stack_export_stack ON stack_export (stack, name);

-- stack_import tells which stacks use an export; importer is the stack's name. They
-- are those of their account and region.
CREATE TABLE stack_import (
	account  TEXT COLLATE "binary" NOT NULL,
	region   TEXT COLLATE "binary" NOT NULL,
	name     TEXT COLLATE "binary" NOT NULL,
	importer TEXT COLLATE "binary" NOT NULL,
	stack    TEXT COLLATE "binary" NOT NULL REFERENCES stack (id) ON DELETE CASCADE,
	PRIMARY KEY (account, region, name, importer, stack)
);

CREATE INDEX stack_import_stack ON stack_import (stack, name);
