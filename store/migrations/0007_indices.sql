-- Mappings of one function that read one source: few, where the function has
-- many mappings or the source has many readers.
CREATE INDEX event_source_mapping_both ON event_source_mapping (account, region, function, source, uuid);

-- With "number = 0" SQLite would see that "number = $4" may mean this index, and
-- prepare each such statement again whenever $4 is bound.
DROP INDEX function_version_latest;

CREATE UNIQUE INDEX function_version_latest ON function_version (account, region, name) WHERE number < 1;

-- With reserved, whoever sums up provisioned reads the index alone.
DROP INDEX function_provisioned;

CREATE INDEX function_provisioned ON function (account, region, name, provisioned, reserved)
	WHERE provisioned > 0 AND reserved IS NULL;
