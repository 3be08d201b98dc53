-- The version of the control catalog; 0 if there is none.
IF OBJECT_ID(N'[{schema}].[GetCatalogVersion]', N'P') IS NULL
BEGIN
    SELECT 0 AS Version;
END
ELSE
BEGIN
    EXEC [{schema}].[GetCatalogVersion];
END;
