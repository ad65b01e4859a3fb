-- identity is a user, a group, a role or an instance profile of an account: kind
-- tells. description, trust and max_session are a role's; boundary is the ARN of a
-- policy, '' without one. role and what belonged to it become identities.
CREATE TABLE identity (
	account     TEXT COLLATE "binary" NOT NULL REFERENCES account (id),
	kind        TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	id          TEXT COLLATE "binary" NOT NULL UNIQUE,
	path        TEXT NOT NULL,
	description TEXT NOT NULL,
	trust       TEXT NOT NULL,
	max_session BIGINT NOT NULL,
	boundary    TEXT COLLATE "binary" NOT NULL,
	tags        TEXT NOT NULL,
	created     BIGINT NOT NULL,
	PRIMARY KEY (account, kind, name)
);

-- Names that differ in case only are taken.
CREATE INDEX identity_folded ON identity (account, kind, lower(name));

CREATE INDEX identity_boundary ON identity (account, boundary, kind, name) WHERE boundary <> '';

CREATE TABLE identity_attachment (
	account TEXT COLLATE "binary" NOT NULL,
	kind    TEXT COLLATE "binary" NOT NULL,
	name    TEXT COLLATE "binary" NOT NULL,
	policy  TEXT COLLATE "binary" NOT NULL, -- ARN
	PRIMARY KEY (account, kind, name, policy),
	FOREIGN KEY (account, kind, name) REFERENCES identity (account, kind, name) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX identity_attachment_policy ON identity_attachment (account, policy, kind, name);

CREATE TABLE identity_policy (
	account  TEXT COLLATE "binary" NOT NULL,
	kind     TEXT COLLATE "binary" NOT NULL,
	name     TEXT COLLATE "binary" NOT NULL,
	policy   TEXT COLLATE "binary" NOT NULL, -- its name
	document TEXT NOT NULL,
	PRIMARY KEY (account, kind, name, policy),
	FOREIGN KEY (account, kind, name) REFERENCES identity (account, kind, name) ON UPDATE CASCADE ON DELETE CASCADE
);

-- identity_member tells which users a group has, and which role an instance
-- profile.
CREATE TABLE identity_member (
	account     TEXT COLLATE "binary" NOT NULL,
	kind        TEXT COLLATE "binary" NOT NULL,
	name        TEXT COLLATE "binary" NOT NULL,
	member_kind TEXT COLLATE "binary" NOT NULL,
	member      TEXT COLLATE "binary" NOT NULL,
	PRIMARY KEY (account, kind, name, member_kind, member),
	FOREIGN KEY (account, kind, name) REFERENCES identity (account, kind, name) ON UPDATE CASCADE ON DELETE CASCADE,
	FOREIGN KEY (account, member_kind, member) REFERENCES identity (account, kind, name) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX identity_member_member ON identity_member (account, member_kind, member, kind, name);

INSERT INTO identity (account, kind, name, id, path, description, trust, max_session, boundary, tags, created)
	SELECT account, 'role', name, id, path, description, trust, max_session, '', tags, created FROM role;

INSERT INTO identity_attachment (account, kind, name, policy) SELECT account, 'role', role, policy FROM role_attachment;

INSERT INTO identity_policy (account, kind, name, policy, document) SELECT account, 'role', role, name, document FROM role_policy;

DROP TABLE role_policy;

DROP TABLE role_attachment;

DROP TABLE role;

-- last_version never goes back.
CREATE TABLE managed_policy_version (
	account  TEXT COLLATE "binary" NOT NULL,
	policy   TEXT COLLATE "binary" NOT NULL,
	number   BIGINT NOT NULL,
	document TEXT NOT NULL,
	created  BIGINT NOT NULL,
	PRIMARY KEY (account, policy, number),
	FOREIGN KEY (account, policy) REFERENCES managed_policy (account, name) ON DELETE CASCADE
);

INSERT INTO managed_policy_version (account, policy, number, document, created)
	SELECT account, name, 1, document, created FROM managed_policy;

ALTER TABLE managed_policy DROP COLUMN document;

ALTER TABLE managed_policy ADD COLUMN default_version BIGINT NOT NULL DEFAULT 1;

ALTER TABLE managed_policy ADD COLUMN last_version BIGINT NOT NULL DEFAULT 1;

ALTER TABLE managed_policy ADD COLUMN modified BIGINT NOT NULL DEFAULT 0;

UPDATE managed_policy SET modified = created;

-- active is 1 or 0. used is 0 for a key that was never used.
ALTER TABLE access_key ADD COLUMN active BIGINT NOT NULL DEFAULT 1;

ALTER TABLE access_key ADD COLUMN used BIGINT NOT NULL DEFAULT 0;

ALTER TABLE access_key ADD COLUMN used_service TEXT NOT NULL DEFAULT '';

ALTER TABLE access_key ADD COLUMN used_region TEXT NOT NULL DEFAULT '';

DROP INDEX access_key_account;

CREATE INDEX access_key_user ON access_key (account, user_name, id);

-- management is the account that made the organization, '' when the operator did.
CREATE TABLE organization (
	id         TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	name       TEXT NOT NULL,
	root       TEXT NOT NULL,
	management TEXT COLLATE "binary" NOT NULL,
	created    BIGINT NOT NULL
);

-- organization and joined are NULL and 0 for an account that is in none.
ALTER TABLE account ADD COLUMN organization TEXT COLLATE "binary" REFERENCES organization (id);

ALTER TABLE account ADD COLUMN joined BIGINT NOT NULL DEFAULT 0;

ALTER TABLE account ADD COLUMN email TEXT COLLATE "binary" NOT NULL DEFAULT '';

ALTER TABLE account ADD COLUMN alias TEXT COLLATE "binary" NOT NULL DEFAULT '';

CREATE INDEX account_organization ON account (organization, id) WHERE organization IS NOT NULL;

CREATE UNIQUE INDEX account_alias ON account (alias) WHERE alias <> '';
