-- The last batch of an installation: everything before it succeeded.
IF NOT EXISTS (SELECT 1 FROM [{schema}].[catalog_version] WHERE version = {version})
BEGIN
    INSERT INTO [{schema}].[catalog_version] (version, installed) VALUES ({version}, SYSUTCDATETIME());
END;
GO
