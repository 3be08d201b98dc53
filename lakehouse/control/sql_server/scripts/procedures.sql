-- Control catalog: procedures. May be run again at any time, after the scripts of the tables.
-- Every public procedure is one transaction: it takes its turn, decides, writes, answers with one result set.
-- A parameter is only ever added, with a default, so that what calls a procedure never has to be made again.
-- @RaiseError = 1: a refusal is an error (51001 to 51009); 0: it is a row with ErrorNumber and Message.
-- @Now is for tests: the time in place of the server's.
SET ANSI_NULLS ON;
SET QUOTED_IDENTIFIER ON;
GO

---------------------------------------------------------------------------------------------------- inside a transaction

-- Writers are alone in the catalog, readers are together: no race, and no deadlock because there is only one lock.
CREATE OR ALTER PROCEDURE [{schema}].[TakeTurn]
    @LockMode NVARCHAR(32) = N'Exclusive'
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @Granted INT;
    EXEC @Granted = sys.sp_getapplock @Resource = N'lakehouse control catalog {schema}', @LockMode = @LockMode,
        @LockOwner = N'Transaction', @LockTimeout = 45000;
    IF @Granted < 0
    BEGIN
        THROW 51000, N'the control catalog is busy: no turn within 45 seconds. Nothing was changed; try again.', 1;
    END;
END;
GO

-- After the rollback: a refusal as an error or as a row. THROW reads %, and takes 2,048 characters.
CREATE OR ALTER PROCEDURE [{schema}].[Refuse]
    @Number INT,
    @Text NVARCHAR(MAX),
    @RaiseError BIT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @Escaped NVARCHAR(2048) = REPLACE(LEFT(@Text, 1000), N'%', N'%%');
    IF @RaiseError = 1
    BEGIN
        THROW @Number, @Escaped, 1;
    END;
    SELECT @Number AS ErrorNumber, @Text AS Message;
END;
GO

-- Unknown batches and loads register themselves; one whose definition changed starts to count its failures anew.
CREATE OR ALTER PROCEDURE [{schema}].[RegisterObject]
    @ProjectName NVARCHAR(4000),
    @Name NVARCHAR(4000),
    @Kind NVARCHAR(4000),
    @Definition NVARCHAR(MAX) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM [{schema}].[object] WHERE project = @ProjectName AND name = @Name)
    BEGIN
        INSERT INTO [{schema}].[object] (project, name, kind)
        VALUES (@ProjectName, @Name, @Kind);
    END;
    UPDATE [{schema}].[object]
    SET failures = 0, definition = @Definition, kind = @Kind
    WHERE project = @ProjectName AND name = @Name AND @Definition IS NOT NULL AND definition <> @Definition;
END;
GO

-- A run with an external id sends no heartbeat until it says otherwise; it has a maximum duration.
CREATE OR ALTER PROCEDURE [{schema}].[AddRun]
    @ParentID BIGINT,
    @ExternalID NVARCHAR(4000),
    @RequestID NVARCHAR(4000),
    @ProjectName NVARCHAR(4000),
    @Name NVARCHAR(4000),
    @Kind NVARCHAR(4000),
    @Status NCHAR(1),
    @Process NVARCHAR(4000),
    @StaleSeconds INT,
    @LongestSeconds INT,
    @Now DATETIME2(6),
    @ExecutionID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @Heartbeat DATETIME2(6) = @Now, @AliveUntil DATETIME2(6) = DATEADD(SECOND, @StaleSeconds, @Now);
    IF @ExternalID IS NOT NULL
    BEGIN
        SET @Heartbeat = NULL;
        SET @AliveUntil = DATEADD(SECOND, @LongestSeconds, @Now);
    END;
    INSERT INTO [{schema}].[run] (
        parent_id, external_id, request_id, project, object, kind, status, started, heartbeat, alive_until, stale_seconds, process
    )
    VALUES (
        @ParentID, @ExternalID, @RequestID, @ProjectName, @Name, @Kind, @Status, @Now, @Heartbeat, @AliveUntil, @StaleSeconds, @Process
    );
    SET @ExecutionID = SCOPE_IDENTITY();
END;
GO

CREATE OR ALTER PROCEDURE [{schema}].[EndRun]
    @ExecutionID BIGINT,
    @Status NCHAR(1),
    @NextStatus NCHAR(1),
    @Message NVARCHAR(MAX),
    @Now DATETIME2(6)
AS
BEGIN
    SET NOCOUNT ON;
    UPDATE [{schema}].[run]
    SET status = @Status, next_status = @NextStatus, ended = @Now, message = @Message
    WHERE run_id = @ExecutionID;
END;
GO

-- Ends a load that did not succeed: its table is free, its intent stays for the next one unless it is to be forgotten.
-- The next one begins after the copy (D) if that was landed: by the intent, or for a load without a table by the caller's
-- word, by a row count 'copied', or because this load had begun after the copy itself.
CREATE OR ALTER PROCEDURE [{schema}].[FailLoad]
    @ExecutionID BIGINT,
    @Message NVARCHAR(MAX),
    @Forget BIT,
    @Landed BIT,
    @Now DATETIME2(6)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @ProjectName NVARCHAR(4000), @ObjectName NVARCHAR(4000), @Status NCHAR(1), @TableName NVARCHAR(4000),
        @Intent NVARCHAR(MAX), @NextStatus NCHAR(1) = N'R';
    SELECT @ProjectName = project, @ObjectName = object, @Status = status, @TableName = table_name
    FROM [{schema}].[run]
    WHERE run_id = @ExecutionID;
    SELECT @Intent = intent FROM [{schema}].[table_state] WHERE claimed_by = @ExecutionID;
    UPDATE [{schema}].[table_state]
    SET claimed_by = NULL, intent = CASE WHEN @Forget = 1 THEN NULL ELSE intent END
    WHERE claimed_by = @ExecutionID;
    UPDATE [{schema}].[object] SET failures = failures + 1 WHERE project = @ProjectName AND name = @ObjectName;
    IF @Landed IS NULL AND @TableName IS NULL AND (@Status = N'D' OR EXISTS (
        SELECT 1 FROM [{schema}].[row_count] WHERE run_id = @ExecutionID AND count_type = N'copied'))
    BEGIN
        SET @Landed = 1;
    END;
    IF @Forget = 0 AND (@Landed = 1 OR JSON_QUERY(@Intent, '$.landed') IS NOT NULL)
    BEGIN
        SET @NextStatus = N'D';
    END;
    EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'F', @NextStatus = @NextStatus, @Message = @Message,
        @Now = @Now;
END;
GO

-- Fails the loads of a batch that did not end.
CREATE OR ALTER PROCEDURE [{schema}].[FailLoads]
    @BatchID BIGINT,
    @Message NVARCHAR(MAX),
    @Now DATETIME2(6)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @LoadID BIGINT = (SELECT MIN(run_id) FROM [{schema}].[run] WHERE parent_id = @BatchID AND ended IS NULL);
    WHILE @LoadID IS NOT NULL
    BEGIN
        EXEC [{schema}].[FailLoad] @ExecutionID = @LoadID, @Message = @Message, @Forget = 0, @Landed = NULL, @Now = @Now;
        SET @LoadID = (
            SELECT MIN(run_id) FROM [{schema}].[run] WHERE parent_id = @BatchID AND ended IS NULL AND run_id > @LoadID);
    END;
END;
GO

-- Ends a batch that did not succeed, and its loads; what succeeded is skipped by the restart. A load on its own just fails.
-- The restart is R if a copy has to be done again, D if everything that is missing can be made from what was landed.
CREATE OR ALTER PROCEDURE [{schema}].[FailRun]
    @ExecutionID BIGINT,
    @Message NVARCHAR(MAX),
    @Now DATETIME2(6)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @NextStatus NCHAR(1) = N'D';
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @ExecutionID AND kind <> N'batch')
    BEGIN
        EXEC [{schema}].[FailLoad] @ExecutionID = @ExecutionID, @Message = @Message, @Forget = 0, @Landed = NULL, @Now = @Now;
        RETURN;
    END;
    EXEC [{schema}].[FailLoads] @BatchID = @ExecutionID, @Message = @Message, @Now = @Now;
    UPDATE [{schema}].[run] SET next_status = N'C' WHERE parent_id = @ExecutionID AND status = N'S';
    IF NOT EXISTS (SELECT 1 FROM [{schema}].[run] WHERE parent_id = @ExecutionID) OR EXISTS (
        SELECT 1
        FROM [{schema}].[run] AS child
        WHERE child.parent_id = @ExecutionID AND child.kind = N'source' AND child.status <> N'S'
            AND child.next_status IN (N'R', N'P')
            AND child.run_id = (SELECT MAX(later.run_id) FROM [{schema}].[run] AS later
                WHERE later.parent_id = child.parent_id AND later.object = child.object))
    BEGIN
        SET @NextStatus = N'R';
    END;
    EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'F', @NextStatus = @NextStatus, @Message = @Message,
        @Now = @Now;
END;
GO

-- A run that has not said for too long that it is alive is dead: it is ended, with its batch if it has one.
-- @LivingID is the run itself if it lives.
CREATE OR ALTER PROCEDURE [{schema}].[EndIfDead]
    @ExecutionID BIGINT,
    @Now DATETIME2(6),
    @LivingID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @RootID BIGINT = (SELECT COALESCE(parent_id, run_id) FROM [{schema}].[run] WHERE run_id = @ExecutionID);
    SET @LivingID = NULL;
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @RootID AND ended IS NULL AND alive_until > @Now)
    BEGIN
        SET @LivingID = (SELECT run_id FROM [{schema}].[run] WHERE run_id = @ExecutionID AND ended IS NULL);
    END;
    IF @LivingID IS NULL AND EXISTS (
        SELECT 1 FROM [{schema}].[run] WHERE run_id = @RootID AND ended IS NULL AND alive_until <= @Now)
    BEGIN
        EXEC [{schema}].[FailRun] @ExecutionID = @RootID, @Message = N'its process ended without a word', @Now = @Now;
    END;
END;
GO

-- The living run of a batch (kind batch) or load (any other kind); dead ones are ended.
CREATE OR ALTER PROCEDURE [{schema}].[FindLiving]
    @ProjectName NVARCHAR(4000),
    @Name NVARCHAR(4000),
    @IsBatch BIT,
    @Now DATETIME2(6),
    @LivingID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @FoundID BIGINT = 0;
    SET @LivingID = NULL;
    WHILE @FoundID IS NOT NULL AND @LivingID IS NULL
    BEGIN
        SET @FoundID = (
            SELECT MIN(run_id)
            FROM [{schema}].[run]
            WHERE project = @ProjectName AND object = @Name AND ended IS NULL AND run_id > @FoundID
                AND @IsBatch = CASE WHEN kind = N'batch' THEN 1 ELSE 0 END);
        EXEC [{schema}].[EndIfDead] @ExecutionID = @FoundID, @Now = @Now, @LivingID = @LivingID OUTPUT;
    END;
END;
GO

-- The start of a batch. The same external id or request gives the same run; a suspended batch is skipped (C); a running one
-- is left alone and the newcomer aborted (A); a failed one with something left to try is gone on with (R or D).
CREATE OR ALTER PROCEDURE [{schema}].[StartBatch]
    @ExternalID NVARCHAR(4000),
    @RequestID NVARCHAR(4000),
    @ProjectName NVARCHAR(4000),
    @BatchName NVARCHAR(4000),
    @Restart BIT,
    @Process NVARCHAR(4000),
    @StaleSeconds INT,
    @LongestSeconds INT,
    @Now DATETIME2(6),
    @ExecutionID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @Status NCHAR(1) = N'E', @Message NVARCHAR(MAX), @LivingID BIGINT, @LatestID BIGINT, @FailedID BIGINT,
        @LandedID BIGINT, @Attempt INT = 1;
    SET @ExecutionID = (SELECT MAX(run_id) FROM [{schema}].[run] WHERE request_id = @RequestID);
    IF @ExecutionID IS NULL
    BEGIN
        SET @ExecutionID = (
            SELECT MAX(run_id)
            FROM [{schema}].[run]
            WHERE project = @ProjectName AND external_id = @ExternalID AND kind = N'batch');
    END;
    IF @ExecutionID IS NOT NULL
    BEGIN
        RETURN;
    END;
    EXEC [{schema}].[RegisterObject] @ProjectName = @ProjectName, @Name = @BatchName, @Kind = N'batch';
    IF EXISTS (SELECT 1 FROM [{schema}].[object] WHERE project = @ProjectName AND name = @BatchName AND enabled = 0)
    BEGIN
        SET @Status = N'C';
        SET @Message = CONCAT(N'batch ''', @BatchName, N''' is suspended; lakehouse resume ', @BatchName, N' lets it run');
    END;
    IF @Status = N'E'
    BEGIN
        EXEC [{schema}].[FindLiving] @ProjectName = @ProjectName, @Name = @BatchName, @IsBatch = 1, @Now = @Now,
            @LivingID = @LivingID OUTPUT;
    END;
    IF @LivingID IS NOT NULL
    BEGIN
        SET @Status = N'A';
        SELECT @Message = CONCAT(
            N'batch ''', @BatchName, N''' is running already: run ', run_id, N' since ', CONVERT(NVARCHAR(19), started, 126),
            N', process ', process, N'. It is left alone; wait for it to end.')
        FROM [{schema}].[run]
        WHERE run_id = @LivingID;
    END;
    IF @Status = N'E' AND @Restart = 1
    BEGIN
        SET @LatestID = (
            SELECT MAX(run_id)
            FROM [{schema}].[run]
            WHERE project = @ProjectName AND object = @BatchName AND kind = N'batch' AND status IN (N'S', N'F'));
        SELECT @FailedID = failed.run_id, @Status = failed.next_status,
            @LandedID = COALESCE(failed.landed_run_id, failed.run_id), @Attempt = failed.attempt + 1
        FROM [{schema}].[run] AS failed
        WHERE failed.run_id = @LatestID AND failed.status = N'F' AND failed.next_status <> N'P'
            AND failed.rolled_back_by IS NULL
            AND (EXISTS (SELECT 1 FROM [{schema}].[run] AS child WHERE child.parent_id = failed.run_id AND child.status = N'F')
                OR NOT EXISTS (SELECT 1 FROM [{schema}].[run] AS child WHERE child.parent_id = failed.run_id));
    END;
    EXEC [{schema}].[AddRun] @ParentID = NULL, @ExternalID = @ExternalID, @RequestID = @RequestID,
        @ProjectName = @ProjectName, @Name = @BatchName, @Kind = N'batch', @Status = @Status, @Process = @Process,
        @StaleSeconds = @StaleSeconds, @LongestSeconds = @LongestSeconds, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
    UPDATE [{schema}].[run]
    SET restarts = @FailedID, landed_run_id = CASE WHEN @Status = N'D' THEN @LandedID END, attempt = @Attempt
    WHERE run_id = @ExecutionID;
    IF @Status IN (N'A', N'C')
    BEGIN
        EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = @Status, @NextStatus = N'P', @Message = @Message,
            @Now = @Now;
    END;
END;
GO

-- What a load does, by what became of it before: C disabled or done, A failed too often, R or D again, E otherwise.
-- Before is the load in the run that its batch goes on with, or the last one on its own for a load without a batch.
-- Without @MaxAttempts neither failures nor what was done before count.
CREATE OR ALTER PROCEDURE [{schema}].[JudgeLoad]
    @BatchID BIGINT,
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @Kind NVARCHAR(4000),
    @Definition NVARCHAR(MAX),
    @MaxAttempts INT,
    @Status NCHAR(1) OUTPUT,
    @NextStatus NCHAR(1) OUTPUT,
    @Message NVARCHAR(MAX) OUTPUT,
    @BeforeID BIGINT OUTPUT,
    @DoerID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @RestartedID BIGINT, @BeforeNext NCHAR(1), @Enabled BIT, @Failures INT;
    SET @BeforeID = NULL;
    SET @DoerID = NULL;
    EXEC [{schema}].[RegisterObject] @ProjectName = @ProjectName, @Name = @ObjectName, @Kind = @Kind, @Definition = @Definition;
    IF @MaxAttempts IS NOT NULL AND @BatchID IS NULL
    BEGIN
        SET @BeforeID = (
            SELECT MAX(run_id)
            FROM [{schema}].[run]
            WHERE project = @ProjectName AND object = @ObjectName AND kind = @Kind AND parent_id IS NULL
                AND status IN (N'S', N'F'));
    END;
    IF @MaxAttempts IS NOT NULL
    BEGIN
        SET @RestartedID = (SELECT restarts FROM [{schema}].[run] WHERE run_id = @BatchID);
    END;
    WHILE @RestartedID IS NOT NULL AND @BeforeID IS NULL
    BEGIN
        SET @BeforeID = (SELECT MAX(run_id) FROM [{schema}].[run] WHERE parent_id = @RestartedID AND object = @ObjectName);
        SET @RestartedID = (SELECT restarts FROM [{schema}].[run] WHERE run_id = @RestartedID);
    END;
    SELECT @BeforeNext = next_status, @DoerID = CASE WHEN status = N'S' THEN run_id ELSE COALESCE(row_audit_id, run_id) END
    FROM [{schema}].[run]
    WHERE run_id = @BeforeID;
    SELECT @Enabled = enabled, @Failures = failures
    FROM [{schema}].[object]
    WHERE project = @ProjectName AND name = @ObjectName;
    SET @Status = CASE
        WHEN @Enabled = 0 OR @BeforeNext = N'C' THEN N'C'
        WHEN @Failures >= @MaxAttempts THEN N'A'
        WHEN @BeforeNext IN (N'R', N'D') THEN @BeforeNext
        ELSE N'E' END;
    SET @NextStatus = CASE
        WHEN @Enabled = 0 THEN N'P'
        WHEN @Status = N'C' THEN N'C'
        WHEN @Status = N'A' THEN N'R'
        ELSE N'P' END;
    SET @Message = CASE
        WHEN @Enabled = 0 THEN CONCAT(N'disabled; lakehouse enable ', @ObjectName, N' lets it run')
        WHEN @Status = N'C' THEN CONCAT(N'done by run ', @DoerID, N', before the restart')
        WHEN @Status = N'A' THEN CONCAT(N'failed ', @Failures, N' times; when it is mended: lakehouse reset ', @ObjectName)
        ELSE N'' END;
END;
GO

-- The start of a load that another system does, such as a copy by Data Factory. A restart without the copy (D) uses what
-- the run landed_run_id landed; its rows carry that run's row_audit_id.
CREATE OR ALTER PROCEDURE [{schema}].[StartLoad]
    @ExternalID NVARCHAR(4000),
    @ProjectName NVARCHAR(4000),
    @BatchID BIGINT,
    @ObjectName NVARCHAR(4000),
    @Kind NVARCHAR(4000),
    @MaxAttempts INT,
    @Process NVARCHAR(4000),
    @StaleSeconds INT,
    @LongestSeconds INT,
    @Now DATETIME2(6),
    @ExecutionID BIGINT OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @Status NCHAR(1), @NextStatus NCHAR(1), @Message NVARCHAR(MAX), @BeforeID BIGINT, @DoerID BIGINT, @LivingID BIGINT;
    SET @ExecutionID = (
        SELECT MAX(run_id)
        FROM [{schema}].[run]
        WHERE project = @ProjectName AND external_id = @ExternalID AND object = @ObjectName AND kind <> N'batch');
    IF @ExecutionID IS NOT NULL
    BEGIN
        RETURN;
    END;
    EXEC [{schema}].[FindLiving] @ProjectName = @ProjectName, @Name = @ObjectName, @IsBatch = 0, @Now = @Now,
        @LivingID = @LivingID OUTPUT;
    EXEC [{schema}].[JudgeLoad] @BatchID = @BatchID, @ProjectName = @ProjectName, @ObjectName = @ObjectName, @Kind = @Kind,
        @Definition = NULL, @MaxAttempts = @MaxAttempts, @Status = @Status OUTPUT, @NextStatus = @NextStatus OUTPUT,
        @Message = @Message OUTPUT, @BeforeID = @BeforeID OUTPUT, @DoerID = @DoerID OUTPUT;
    IF @Status IN (N'E', N'R', N'D') AND @LivingID IS NOT NULL
    BEGIN
        SET @Status = N'A';
        SELECT @Message = CONCAT(
            @ObjectName, N' is being loaded already: run ', run_id, N' since ', CONVERT(NVARCHAR(19), started, 126),
            N', process ', process, N'. It is left alone; wait for it to end.')
        FROM [{schema}].[run]
        WHERE run_id = @LivingID;
    END;
    EXEC [{schema}].[AddRun] @ParentID = @BatchID, @ExternalID = @ExternalID, @RequestID = NULL,
        @ProjectName = @ProjectName, @Name = @ObjectName, @Kind = @Kind, @Status = @Status, @Process = @Process,
        @StaleSeconds = @StaleSeconds, @LongestSeconds = @LongestSeconds, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
    UPDATE [{schema}].[run]
    SET restarts = CASE WHEN @Status IN (N'R', N'D') THEN @BeforeID END,
        landed_run_id = CASE WHEN @Status = N'D' THEN @DoerID END,
        row_audit_id = CASE WHEN @Status IN (N'E', N'R') THEN @ExecutionID ELSE @DoerID END
    WHERE run_id = @ExecutionID;
    IF @Status IN (N'A', N'C')
    BEGIN
        EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = @Status, @NextStatus = @NextStatus,
            @Message = @Message, @Now = @Now;
    END;
END;
GO

-- Moves a watermark on; an empty value or an older one keeps the old mark (@Saved = 0). Numbers compare as numbers, dates
-- and texts as texts. A number that does not fit DECIMAL(38, 10) compares as FLOAT.
CREATE OR ALTER PROCEDURE [{schema}].[SaveWatermark]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @Name NVARCHAR(4000),
    @Value NVARCHAR(MAX),
    @Type NVARCHAR(4000),
    @ExecutionID BIGINT,
    @Force BIT,
    @Now DATETIME2(6),
    @Saved BIT OUTPUT,
    @Problem NVARCHAR(MAX) OUTPUT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @OldValue NVARCHAR(MAX), @OldType NVARCHAR(4000), @IsText BIT = 0, @IsOlder BIT = 0;
    SET @Saved = 0;
    SET @Problem = NULL;
    IF @Value IS NULL OR LOWER(LTRIM(RTRIM(@Value))) IN (N'', N'null', N'none')
    BEGIN
        RETURN;
    END;
    SELECT @OldValue = value, @OldType = type
    FROM [{schema}].[parameter]
    WHERE project = @ProjectName AND object = @ObjectName AND name = @Name;
    SET @Type = COALESCE(@Type, @OldType, N'string');
    IF LOWER(@Type) LIKE N'date%' OR LOWER(@Type) LIKE N'timestamp%' OR LOWER(@Type) LIKE N'string%'
        OR LOWER(@Type) LIKE N'char%' OR LOWER(@Type) LIKE N'varchar%'
    BEGIN
        SET @IsText = 1;
    END;
    IF @OldValue IS NOT NULL AND @Force = 0 AND @IsText = 1 AND @Value < @OldValue COLLATE Latin1_General_100_BIN2
    BEGIN
        SET @IsOlder = 1;
    END;
    IF @OldValue IS NOT NULL AND @Force = 0 AND @IsText = 0
    BEGIN
        IF TRY_CAST(@Value AS FLOAT) IS NULL OR TRY_CAST(@OldValue AS FLOAT) IS NULL
        BEGIN
            SET @Problem = CONCAT(N'watermark ', @Name, N' of ', @ObjectName, N': a ', @Type, N' is a number, and the given or the saved value is none.');
            RETURN;
        END;
        SET @IsOlder = CASE
            WHEN TRY_CAST(@Value AS DECIMAL(38, 10)) < TRY_CAST(@OldValue AS DECIMAL(38, 10)) THEN 1
            WHEN TRY_CAST(@Value AS DECIMAL(38, 10)) >= TRY_CAST(@OldValue AS DECIMAL(38, 10)) THEN 0
            WHEN TRY_CAST(@Value AS FLOAT) < TRY_CAST(@OldValue AS FLOAT) THEN 1
            ELSE 0 END;
    END;
    IF @IsOlder = 1
    BEGIN
        RETURN;
    END;
    DELETE FROM [{schema}].[parameter] WHERE project = @ProjectName AND object = @ObjectName AND name = @Name;
    INSERT INTO [{schema}].[parameter] (project, object, name, value, previous_value, type, run_id)
    VALUES (@ProjectName, @ObjectName, @Name, @Value, @OldValue, @Type, @ExecutionID);
    INSERT INTO [{schema}].[parameter_history] (project, object, name, value, type, run_id, [at])
    VALUES (@ProjectName, @ObjectName, @Name, @Value, @Type, @ExecutionID, @Now);
    SET @Saved = 1;
END;
GO

-- Sets offsets; @Offsets is [{"source": ..., "position": ...}].
CREATE OR ALTER PROCEDURE [{schema}].[SaveOffsets]
    @TableName NVARCHAR(4000),
    @Offsets NVARCHAR(MAX)
AS
BEGIN
    SET NOCOUNT ON;
    DELETE FROM [{schema}].[consumer_offset]
    WHERE target = @TableName AND source IN (
        SELECT given.source COLLATE Latin1_General_100_BIN2
        FROM OPENJSON(@Offsets) WITH (source NVARCHAR(4000) '$.source') AS given);
    INSERT INTO [{schema}].[consumer_offset] (target, source, position)
    SELECT @TableName, given.source, given.position
    FROM OPENJSON(@Offsets) WITH (source NVARCHAR(4000) '$.source', position BIGINT '$.position') AS given;
END;
GO

-- A load that succeeded: its failures are forgotten, its average duration goes on.
CREATE OR ALTER PROCEDURE [{schema}].[Learn]
    @ExecutionID BIGINT,
    @Now DATETIME2(6)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @ProjectName NVARCHAR(4000), @ObjectName NVARCHAR(4000), @Seconds FLOAT;
    SELECT @ProjectName = project, @ObjectName = object, @Seconds = DATEDIFF_BIG(MILLISECOND, started, @Now) / 1000.0
    FROM [{schema}].[run]
    WHERE run_id = @ExecutionID;
    UPDATE [{schema}].[object]
    SET failures = 0, average_seconds = (average_seconds * runs + @Seconds) / (runs + 1), runs = runs + 1
    WHERE project = @ProjectName AND name = @ObjectName;
END;
GO

---------------------------------------------------------------------------------------------------- for an orchestrator

-- Begins a batch (@ObjectName NULL) or a load of it. ExecutionStatus E, R, D: go on; A: it runs already or failed too often;
-- C: skip. A load belongs to @ParentExecutionID, or to the run of @BatchName that executes, or stands alone.
-- An orchestrator's empty text ('' or, as a number, 0) is nothing.
CREATE OR ALTER PROCEDURE [{schema}].[LogExecutionStart]
    @ExternalID NVARCHAR(4000),
    @ProjectName NVARCHAR(4000),
    @BatchName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000) = NULL,
    @ObjectType NVARCHAR(4000) = N'source',
    @ParentExecutionID BIGINT = NULL,
    @Restart BIT = 1,
    @MaxAttempts INT = 3,
    @StaleSeconds INT = 300,
    @LongestSeconds INT = 86400,
    @Process NVARCHAR(4000) = N'an orchestrator',
    @RequestID NVARCHAR(4000) = NULL,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ExecutionID BIGINT, @BatchID BIGINT = NULLIF(@ParentExecutionID, 0), @Refusal NVARCHAR(MAX);
    SET @ExternalID = NULLIF(@ExternalID, N'');
    SET @BatchName = NULLIF(@BatchName, N'');
    SET @ObjectName = NULLIF(@ObjectName, N'');
    IF COALESCE(@ProjectName, N'') = N'' OR COALESCE(@ObjectName, @BatchName) IS NULL
    BEGIN
        EXEC [{schema}].[Refuse] @Number = 51007, @Text = N'a start names its project and a batch or an object.',
            @RaiseError = @RaiseError;
        RETURN;
    END;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    IF @ObjectName IS NULL
    BEGIN
        EXEC [{schema}].[StartBatch] @ExternalID = @ExternalID, @RequestID = @RequestID, @ProjectName = @ProjectName,
            @BatchName = @BatchName, @Restart = @Restart, @Process = @Process, @StaleSeconds = @StaleSeconds,
            @LongestSeconds = @LongestSeconds, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
    END
    ELSE
    BEGIN
        IF @BatchID IS NULL
        BEGIN
            SET @BatchID = (
                SELECT MAX(run_id)
                FROM [{schema}].[run]
                WHERE project = @ProjectName AND object = @BatchName AND kind = N'batch' AND ended IS NULL
                    AND alive_until > @Now);
        END;
        IF @BatchID IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM [{schema}].[run] WHERE run_id = @BatchID AND kind = N'batch' AND ended IS NULL)
        BEGIN
            SET @Refusal = CONCAT(N'run ', @BatchID, N' is not executing any more, so ', @ObjectName, N' is not loaded by it.');
            ROLLBACK TRANSACTION;
            EXEC [{schema}].[Refuse] @Number = 51001, @Text = @Refusal, @RaiseError = @RaiseError;
            RETURN;
        END;
        EXEC [{schema}].[StartLoad] @ExternalID = @ExternalID, @ProjectName = @ProjectName, @BatchID = @BatchID,
            @ObjectName = @ObjectName, @Kind = @ObjectType, @MaxAttempts = @MaxAttempts, @Process = @Process,
            @StaleSeconds = @StaleSeconds, @LongestSeconds = @LongestSeconds, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
    END;
    SELECT run.run_id AS ExecutionID,
        run.status AS ExecutionStatus,
        run.next_status AS NextLoadStatus,
        CASE WHEN run.ended IS NULL THEN 1 ELSE 0 END AS Executes,
        CASE WHEN run.status = N'D' THEN run.landed_run_id ELSE run.restarts END AS LastExecutionID,
        (SELECT MAX(good.run_id) FROM [{schema}].[run] AS good
            WHERE good.project = run.project AND good.object = run.object AND good.kind = run.kind AND good.status = N'S'
                AND good.run_id < run.run_id) AS LastSuccessfulExecutionID,
        run.landed_run_id AS LandedExecutionID,
        run.restarts AS RestartedExecutionID,
        CASE WHEN run.kind = N'batch' THEN COALESCE(run.landed_run_id, run.run_id) ELSE COALESCE(run.row_audit_id, run.run_id) END AS RowAuditID,
        COALESCE(run.parent_id, run.run_id) AS BatchExecutionID,
        COALESCE(batch.started, run.started) AS BatchStartTime,
        CASE WHEN run.ended IS NULL AND run.restarts IS NOT NULL
            THEN CONCAT(N'goes on with run ', run.restarts, N', which failed') ELSE run.message END AS Message
    FROM [{schema}].[run] AS run
    LEFT JOIN [{schema}].[run] AS batch ON batch.run_id = run.parent_id
    WHERE run.run_id = @ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Ends a batch, and its loads that did not end, or a load without a table. A run that has ended is left as it is.
CREATE OR ALTER PROCEDURE [{schema}].[LogExecutionEnd]
    @ExecutionID BIGINT,
    @ExecutionStatus NVARCHAR(4000) = N'S',
    @Message NVARCHAR(MAX) = N'',
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Kind NVARCHAR(4000), @Ended DATETIME2(6), @TableName NVARCHAR(4000), @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SELECT @Kind = kind, @Ended = ended FROM [{schema}].[run] WHERE run_id = @ExecutionID;
    SELECT @TableName = name FROM [{schema}].[table_state] WHERE claimed_by = @ExecutionID;
    SET @Refusal = CASE
        WHEN @Kind IS NULL THEN CONCAT(N'there is no run ', @ExecutionID, N' to end.')
        WHEN COALESCE(@ExecutionStatus, N'') NOT IN (N'S', N'F', N'A', N'C') THEN N'a run ends with S, F, A or C.'
        WHEN @TableName IS NOT NULL THEN CONCAT(N'run ', @ExecutionID, N' writes table ', @TableName, N'; EndLoad ends it.')
        END;
    IF @Refusal IS NOT NULL
    BEGIN
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51005, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    IF @Ended IS NULL AND @ExecutionStatus = N'F'
    BEGIN
        EXEC [{schema}].[FailRun] @ExecutionID = @ExecutionID, @Message = @Message, @Now = @Now;
    END;
    IF @Ended IS NULL AND @ExecutionStatus <> N'F'
    BEGIN
        EXEC [{schema}].[FailLoads] @BatchID = @ExecutionID, @Message = N'its batch ended before it', @Now = @Now;
        UPDATE [{schema}].[run] SET next_status = N'P' WHERE parent_id = @ExecutionID;
        EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = @ExecutionStatus, @NextStatus = N'P',
            @Message = @Message, @Now = @Now;
    END;
    IF @Ended IS NULL AND @ExecutionStatus = N'S' AND @Kind <> N'batch'
    BEGIN
        EXEC [{schema}].[Learn] @ExecutionID = @ExecutionID, @Now = @Now;
    END;
    SELECT run_id AS ExecutionID, status AS ExecutionStatus, next_status AS NextLoadStatus, message AS Message
    FROM [{schema}].[run]
    WHERE run_id = @ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Ends a batch or load that failed and keeps the error. @Landed: whether the copy had finished; NULL: as the catalog knows.
-- Of a run that has ended already only the error is kept.
CREATE OR ALTER PROCEDURE [{schema}].[LogExecutionError]
    @ExecutionID BIGINT,
    @ErrorMessage NVARCHAR(MAX),
    @ErrorType NVARCHAR(4000) = N'Error',
    @Landed BIT = NULL,
    @Forget BIT = 0,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Kind NVARCHAR(4000), @ObjectName NVARCHAR(4000), @Ended DATETIME2(6), @Refusal NVARCHAR(MAX),
        @FirstLine NVARCHAR(MAX) = COALESCE(NULLIF(@ErrorMessage, N''), @ErrorType);
    SET @FirstLine = LEFT(@FirstLine, CHARINDEX(NCHAR(10), CONCAT(@FirstLine, NCHAR(10))) - 1);
    SET @FirstLine = LEFT(REPLACE(@FirstLine, NCHAR(13), N''), 500);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SELECT @Kind = kind, @ObjectName = object, @Ended = ended FROM [{schema}].[run] WHERE run_id = @ExecutionID;
    IF @Kind IS NULL
    BEGIN
        SET @Refusal = CONCAT(N'there is no run ', @ExecutionID, N' that could have failed.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51005, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    IF @Ended IS NULL AND @Kind = N'batch'
    BEGIN
        EXEC [{schema}].[FailRun] @ExecutionID = @ExecutionID, @Message = @FirstLine, @Now = @Now;
    END;
    IF @Ended IS NULL AND @Kind <> N'batch'
    BEGIN
        EXEC [{schema}].[FailLoad] @ExecutionID = @ExecutionID, @Message = @FirstLine, @Forget = @Forget, @Landed = @Landed,
            @Now = @Now;
    END;
    SET @ErrorMessage = LEFT(COALESCE(@ErrorMessage, N''), 20000);
    IF NOT EXISTS (
        SELECT 1 FROM [{schema}].[load_error] WHERE run_id = @ExecutionID AND error = @ErrorType AND message = @ErrorMessage)
    BEGIN
        INSERT INTO [{schema}].[load_error] (run_id, object, error, message, [at])
        VALUES (@ExecutionID, @ObjectName, @ErrorType, @ErrorMessage, @Now);
    END;
    SELECT run_id AS ExecutionID, status AS ExecutionStatus, next_status AS NextLoadStatus, message AS Message
    FROM [{schema}].[run]
    WHERE run_id = @ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Records a count, such as the rows that a copy activity copied (@CountType copied: the copy has finished).
CREATE OR ALTER PROCEDURE [{schema}].[LogRowCount]
    @ExecutionID BIGINT,
    @CountType NVARCHAR(4000),
    @RowCount BIGINT,
    @ControlSum NVARCHAR(4000) = NULL,
    @RaiseError BIT = 1
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ObjectName NVARCHAR(4000), @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SELECT @ObjectName = object FROM [{schema}].[run] WHERE run_id = @ExecutionID;
    IF @ObjectName IS NULL
    BEGIN
        SET @Refusal = CONCAT(N'there is no run ', @ExecutionID, N' to record a row count for.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51005, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    DELETE FROM [{schema}].[row_count] WHERE run_id = @ExecutionID AND count_type = @CountType;
    INSERT INTO [{schema}].[row_count] (run_id, object, count_type, [rows], control_sum)
    VALUES (@ExecutionID, @ObjectName, @CountType, @RowCount, @ControlSum);
    SELECT @ExecutionID AS ExecutionID, @CountType AS CountType, @RowCount AS CountedRows;
    COMMIT TRANSACTION;
END;
GO

-- The saved value of a watermark, or the default; always one row.
CREATE OR ALTER PROCEDURE [{schema}].[GetParameter]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @ParameterName NVARCHAR(4000),
    @DefaultValue NVARCHAR(MAX) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Value NVARCHAR(MAX), @PreviousValue NVARCHAR(MAX), @Type NVARCHAR(4000), @ExecutionID BIGINT;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT @Value = value, @PreviousValue = previous_value, @Type = type, @ExecutionID = run_id
    FROM [{schema}].[parameter]
    WHERE project = @ProjectName AND object = @ObjectName AND name = @ParameterName;
    SELECT COALESCE(@Value, @DefaultValue) AS ParameterValue, @Type AS ParameterType, @PreviousValue AS PreviousValue,
        @ExecutionID AS ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Moves a watermark on after the load; Saved 0: the old mark stays, because the value is older or empty.
CREATE OR ALTER PROCEDURE [{schema}].[SetParameter]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @ParameterName NVARCHAR(4000),
    @ParameterValue NVARCHAR(MAX),
    @ParameterType NVARCHAR(4000) = NULL,
    @ExecutionID BIGINT = NULL,
    @Force BIT = 0,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Saved BIT, @Problem NVARCHAR(MAX), @Message NVARCHAR(MAX) = N'';
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    EXEC [{schema}].[SaveWatermark] @ProjectName = @ProjectName, @ObjectName = @ObjectName, @Name = @ParameterName,
        @Value = @ParameterValue, @Type = @ParameterType, @ExecutionID = @ExecutionID, @Force = @Force, @Now = @Now,
        @Saved = @Saved OUTPUT, @Problem = @Problem OUTPUT;
    IF @Problem IS NOT NULL
    BEGIN
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51004, @Text = @Problem, @RaiseError = @RaiseError;
        RETURN;
    END;
    IF @Saved = 0
    BEGIN
        SET @Message = CONCAT(
            N'watermark ', @ParameterName, N' of ', @ObjectName, N': the saved value is newer or the given one is empty. ',
            N'A watermark goes backwards only with --force; rows after it are then read again.');
    END;
    SELECT @Saved AS Saved, (
            SELECT value FROM [{schema}].[parameter]
            WHERE project = @ProjectName AND object = @ObjectName AND name = @ParameterName) AS ParameterValue,
        @Message AS Message;
    COMMIT TRANSACTION;
END;
GO

-- Ends what is stuck: executing runs of a batch or load, its claim and its failed attempts; the next start is a fresh one.
CREATE OR ALTER PROCEDURE [{schema}].[ResetExecutionStatus]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @StuckID BIGINT, @EndedRuns NVARCHAR(MAX) = N'', @Failures INT = 0, @Message NVARCHAR(MAX) = N'';
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SET @StuckID = (
        SELECT MIN(run_id) FROM [{schema}].[run] WHERE project = @ProjectName AND object = @ObjectName AND ended IS NULL);
    WHILE @StuckID IS NOT NULL
    BEGIN
        EXEC [{schema}].[FailRun] @ExecutionID = @StuckID, @Message = N'reset by hand', @Now = @Now;
        SET @EndedRuns = CONCAT(@EndedRuns, CASE WHEN @EndedRuns = N'' THEN N'' ELSE N', ' END, @StuckID);
        SET @StuckID = (
            SELECT MIN(run_id)
            FROM [{schema}].[run]
            WHERE project = @ProjectName AND object = @ObjectName AND ended IS NULL AND run_id > @StuckID);
    END;
    SELECT @Failures = failures FROM [{schema}].[object] WHERE project = @ProjectName AND name = @ObjectName;
    UPDATE [{schema}].[object] SET failures = 0 WHERE project = @ProjectName AND name = @ObjectName;
    UPDATE [{schema}].[run]
    SET next_status = N'P'
    WHERE run_id IN (
        SELECT MAX(latest.run_id)
        FROM [{schema}].[run] AS latest
        WHERE latest.project = @ProjectName AND latest.object = @ObjectName AND latest.status IN (N'S', N'F')
            AND (latest.kind = N'batch' OR latest.parent_id IS NULL));
    IF @EndedRuns <> N''
    BEGIN
        SET @Message = CONCAT(N'ended run ', @EndedRuns);
    END;
    IF @Failures > 0
    BEGIN
        SET @Message = CONCAT(@Message, CASE WHEN @Message = N'' THEN N'' ELSE N'; ' END, N'forgot ', @Failures, N' failed attempts');
    END;
    SELECT CASE WHEN @Message = N'' THEN N'nothing was stuck' ELSE @Message END AS Message, @EndedRuns AS EndedRuns,
        @Failures AS ForgottenFailures;
    COMMIT TRANSACTION;
END;
GO

-- Lets a batch or load run, or keeps it from running.
CREATE OR ALTER PROCEDURE [{schema}].[SetEnabled]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000),
    @Enabled BIT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    EXEC [{schema}].[RegisterObject] @ProjectName = @ProjectName, @Name = @ObjectName, @Kind = N'';
    UPDATE [{schema}].[object] SET enabled = @Enabled WHERE project = @ProjectName AND name = @ObjectName;
    SELECT name AS ObjectName, enabled AS Enabled
    FROM [{schema}].[object]
    WHERE project = @ProjectName AND name = @ObjectName;
    COMMIT TRANSACTION;
END;
GO

-- Asks the running batches (of one name, or all) to stop after their current loads; one row per run.
CREATE OR ALTER PROCEDURE [{schema}].[RequestStop]
    @ProjectName NVARCHAR(4000),
    @BatchName NVARCHAR(4000) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    UPDATE [{schema}].[run]
    SET stop_requested = 1
    WHERE project = @ProjectName AND kind = N'batch' AND ended IS NULL AND (@BatchName IS NULL OR object = @BatchName);
    SELECT run_id AS ExecutionID
    FROM [{schema}].[run]
    WHERE project = @ProjectName AND kind = N'batch' AND ended IS NULL AND (@BatchName IS NULL OR object = @BatchName)
    ORDER BY run_id;
    COMMIT TRANSACTION;
END;
GO

-- Says that a batch, or a load on its own, is alive, and tells whether it was asked to stop. From its first heartbeat on,
-- silence declares the run dead.
CREATE OR ALTER PROCEDURE [{schema}].[Beat]
    @ExecutionID BIGINT,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    UPDATE [{schema}].[run]
    SET heartbeat = @Now, alive_until = DATEADD(SECOND, stale_seconds, @Now)
    WHERE run_id = @ExecutionID AND ended IS NULL;
    SELECT stop_requested AS StopRequested FROM [{schema}].[run] WHERE run_id = @ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Deletes history older than so many days; NULL keeps it. Batches themselves, states, offsets and watermarks always stay.
CREATE OR ALTER PROCEDURE [{schema}].[Housekeeping]
    @RunDays INT = NULL,
    @RowCountDays INT = NULL,
    @LoadErrorDays INT = NULL,
    @ParameterHistoryDays INT = NULL,
    @QualityResultDays INT = NULL,
    @SchemaChangeDays INT = NULL,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Runs INT, @RowCounts INT, @LoadErrors INT, @ParameterHistories INT, @QualityResults INT, @SchemaChanges INT;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    IF @RowCountDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[row_count]
        WHERE run_id IN (SELECT run_id FROM [{schema}].[run] WHERE ended < DATEADD(DAY, -@RowCountDays, @Now));
        SET @RowCounts = @@ROWCOUNT;
    END;
    IF @LoadErrorDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[load_error] WHERE [at] < DATEADD(DAY, -@LoadErrorDays, @Now);
        SET @LoadErrors = @@ROWCOUNT;
    END;
    IF @ParameterHistoryDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[parameter_history] WHERE [at] < DATEADD(DAY, -@ParameterHistoryDays, @Now);
        SET @ParameterHistories = @@ROWCOUNT;
    END;
    IF @QualityResultDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[quality_result] WHERE [at] < DATEADD(DAY, -@QualityResultDays, @Now);
        SET @QualityResults = @@ROWCOUNT;
    END;
    IF @SchemaChangeDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[schema_change] WHERE [at] < DATEADD(DAY, -@SchemaChangeDays, @Now);
        SET @SchemaChanges = @@ROWCOUNT;
    END;
    IF @RunDays IS NOT NULL
    BEGIN
        DELETE FROM [{schema}].[run] WHERE ended < DATEADD(DAY, -@RunDays, @Now) AND parent_id IS NOT NULL;
        SET @Runs = @@ROWCOUNT;
    END;
    SELECT removed.name AS TableName, removed.removed_rows AS DeletedRows
    FROM (
        SELECT N'row_count' AS name, @RowCounts AS removed_rows
        UNION ALL SELECT N'load_error', @LoadErrors
        UNION ALL SELECT N'parameter_history', @ParameterHistories
        UNION ALL SELECT N'quality_result', @QualityResults
        UNION ALL SELECT N'schema_change', @SchemaChanges
        UNION ALL SELECT N'run', @Runs
    ) AS removed
    WHERE removed.removed_rows IS NOT NULL;
    COMMIT TRANSACTION;
END;
GO

---------------------------------------------------------------------------------------------------- for the library

CREATE OR ALTER PROCEDURE [{schema}].[GetCatalogVersion]
AS
BEGIN
    SET NOCOUNT ON;
    SELECT COALESCE(MAX(version), 0) AS Version FROM [{schema}].[catalog_version];
END;
GO

-- The batches, and loads on their own, that execute; of all projects if none is named.
CREATE OR ALTER PROCEDURE [{schema}].[GetExecuting]
    @ProjectName NVARCHAR(4000) = NULL,
    @BatchName NVARCHAR(4000) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT run_id AS ExecutionID, process AS Process
    FROM [{schema}].[run]
    WHERE parent_id IS NULL AND ended IS NULL AND (@ProjectName IS NULL OR project = @ProjectName)
        AND (@BatchName IS NULL OR object = @BatchName)
    ORDER BY run_id;
    COMMIT TRANSACTION;
END;
GO

-- Ends a run whose process its own host has seen to be gone, without waiting for its silence.
CREATE OR ALTER PROCEDURE [{schema}].[EndGoneRun]
    @ExecutionID BIGINT,
    @Process NVARCHAR(4000),
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @ExecutionID AND ended IS NULL AND process = @Process)
    BEGIN
        EXEC [{schema}].[FailRun] @ExecutionID = @ExecutionID, @Message = N'its process ended without a word', @Now = @Now;
    END;
    COMMIT TRANSACTION;
END;
GO

-- Begins a load of a batch: a run, the table for this run alone, its state, offsets and the position of its rows.
CREATE OR ALTER PROCEDURE [{schema}].[ClaimTable]
    @BatchExecutionID BIGINT,
    @ObjectName NVARCHAR(4000),
    @ObjectType NVARCHAR(4000),
    @TableName NVARCHAR(4000),
    @Definition NVARCHAR(MAX) = N'',
    @MaxAttempts INT = 3,
    @Process NVARCHAR(4000) = N'',
    @RequestID NVARCHAR(4000) = NULL,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ExecutionID BIGINT, @ProjectName NVARCHAR(4000), @StaleSeconds INT, @Status NCHAR(1), @NextStatus NCHAR(1),
        @Message NVARCHAR(MAX), @BeforeID BIGINT, @DoerID BIGINT, @HolderID BIGINT, @LivingID BIGINT, @Intent NVARCHAR(MAX),
        @Position BIGINT, @Before NVARCHAR(MAX), @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SELECT @ProjectName = project, @StaleSeconds = stale_seconds
    FROM [{schema}].[run]
    WHERE run_id = @BatchExecutionID AND ended IS NULL;
    IF @ProjectName IS NULL
    BEGIN
        SET @Refusal = CONCAT(N'run ', @BatchExecutionID, N' is not executing any more, so ', @ObjectName, N' is not loaded by it.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51001, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    SELECT @ExecutionID = run_id, @Status = status FROM [{schema}].[run] WHERE request_id = @RequestID;
    IF @ExecutionID IS NULL
    BEGIN
        EXEC [{schema}].[JudgeLoad] @BatchID = @BatchExecutionID, @ProjectName = @ProjectName, @ObjectName = @ObjectName,
            @Kind = @ObjectType, @Definition = @Definition, @MaxAttempts = @MaxAttempts, @Status = @Status OUTPUT,
            @NextStatus = @NextStatus OUTPUT, @Message = @Message OUTPUT, @BeforeID = @BeforeID OUTPUT,
            @DoerID = @DoerID OUTPUT;
        SELECT @HolderID = claimed_by FROM [{schema}].[table_state] WHERE name = @TableName AND @Status IN (N'E', N'R', N'D');
        EXEC [{schema}].[EndIfDead] @ExecutionID = @HolderID, @Now = @Now, @LivingID = @LivingID OUTPUT;
        IF @LivingID IS NOT NULL
        BEGIN
            SELECT @Refusal = CONCAT(
                N'table ', @TableName, N' is being loaded by run ', run_id, N' since ', CONVERT(NVARCHAR(19), started, 126),
                N', process ', process, N'. One run at a time writes a table; try again when it has ended.')
            FROM [{schema}].[run]
            WHERE run_id = @LivingID;
            ROLLBACK TRANSACTION;
            EXEC [{schema}].[Refuse] @Number = 51002, @Text = @Refusal, @RaiseError = @RaiseError;
            RETURN;
        END;
        EXEC [{schema}].[AddRun] @ParentID = @BatchExecutionID, @ExternalID = NULL, @RequestID = @RequestID,
            @ProjectName = @ProjectName, @Name = @ObjectName, @Kind = @ObjectType, @Status = @Status, @Process = @Process,
            @StaleSeconds = @StaleSeconds, @LongestSeconds = 0, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
        IF @Status IN (N'A', N'C')
        BEGIN
            UPDATE [{schema}].[run] SET row_audit_id = @DoerID WHERE run_id = @ExecutionID;
            EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = @Status, @NextStatus = @NextStatus,
                @Message = @Message, @Now = @Now;
        END
        ELSE
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM [{schema}].[table_state] WHERE name = @TableName)
            BEGIN
                INSERT INTO [{schema}].[table_state] (name) VALUES (@TableName);
            END;
            SET @Before = (
                SELECT state.head, state.row_total, state.live_keys, state.last_load_datetime, state.delta_version,
                    state.ended_once,
                    (SELECT known.source, known.position FROM [{schema}].[consumer_offset] AS known
                        WHERE known.target = state.name FOR JSON PATH) AS [offsets],
                    (SELECT mark.name, mark.value, mark.type FROM [{schema}].[parameter] AS mark
                        WHERE mark.project = @ProjectName AND mark.object = @ObjectName FOR JSON PATH) AS watermarks
                FROM [{schema}].[table_state] AS state
                WHERE state.name = @TableName
                FOR JSON PATH, INCLUDE_NULL_VALUES, WITHOUT_ARRAY_WRAPPER);
            SELECT @Intent = intent, @Position = COALESCE(CAST(JSON_VALUE(intent, '$.position') AS BIGINT), issued + 1)
            FROM [{schema}].[table_state]
            WHERE name = @TableName;
            UPDATE [{schema}].[run]
            SET table_name = @TableName, before_state = @Before,
                row_audit_id = COALESCE(CAST(JSON_VALUE(@Intent, '$.row_audit_id') AS BIGINT), @ExecutionID)
            WHERE run_id = @ExecutionID;
            UPDATE [{schema}].[table_state]
            SET claimed_by = @ExecutionID, issued = CASE WHEN @Position > issued THEN @Position ELSE issued END
            WHERE name = @TableName;
        END;
    END;
    SELECT run.run_id AS ExecutionID, run.status AS ExecutionStatus, run.message AS Message, state.generation AS Generation,
        state.head AS Head, state.row_total AS RowTotal, state.live_keys AS LiveKeys,
        state.last_load_datetime AS LastLoadDatetime, state.delta_version AS DeltaVersion,
        COALESCE(CAST(JSON_VALUE(state.intent, '$.position') AS BIGINT), state.issued) AS Position,
        state.ended_once AS Known, state.intent AS Intent,
        (SELECT known.source, known.position FROM [{schema}].[consumer_offset] AS known
            WHERE known.target = state.name FOR JSON PATH) AS [Offsets]
    FROM [{schema}].[run] AS run
    LEFT JOIN [{schema}].[table_state] AS state ON state.claimed_by = run.run_id
    WHERE run.run_id = @ExecutionID;
    COMMIT TRANSACTION;
END;
GO

-- Writes down what a load is about to do. @Intent is {"position", "row_audit_id", "landed", ...}.
CREATE OR ALTER PROCEDURE [{schema}].[SaveIntent]
    @ExecutionID BIGINT,
    @TableName NVARCHAR(4000),
    @Intent NVARCHAR(MAX),
    @RaiseError BIT = 1
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    UPDATE [{schema}].[table_state] SET intent = @Intent WHERE name = @TableName AND claimed_by = @ExecutionID;
    IF @@ROWCOUNT = 0
    BEGIN
        SET @Refusal = CONCAT(N'run ', @ExecutionID, N' no longer holds table ', @TableName, N': another run took it over. Nothing more is written.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51003, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    COMMIT TRANSACTION;
END;
GO

-- Takes over a table that this catalog has not seen: positions go on after the newest one in it.
CREATE OR ALTER PROCEDURE [{schema}].[AdoptTable]
    @ExecutionID BIGINT,
    @TableName NVARCHAR(4000),
    @Head BIGINT,
    @RaiseError BIT = 1
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    UPDATE [{schema}].[table_state]
    SET head = @Head, issued = @Head + 1
    WHERE name = @TableName AND claimed_by = @ExecutionID;
    IF @@ROWCOUNT = 0
    BEGIN
        SET @Refusal = CONCAT(N'run ', @ExecutionID, N' no longer holds table ', @TableName, N': another run took it over. Nothing more is written.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51003, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    SELECT head AS Head, issued AS Position FROM [{schema}].[table_state] WHERE name = @TableName;
    COMMIT TRANSACTION;
END;
GO

-- Ends a load that succeeded: head, offsets, counts, files and watermark move together.
-- @Counts is [{"name", "rows"}], @Offsets [{"source", "position"}], @Files [{"path", "size", "checksum"}].
CREATE OR ALTER PROCEDURE [{schema}].[EndLoad]
    @ExecutionID BIGINT,
    @TableName NVARCHAR(4000),
    @Head BIGINT,
    @RowTotal BIGINT = 0,
    @LiveKeys BIGINT = NULL,
    @DeltaVersion BIGINT = NULL,
    @LastLoadDatetime DATETIME2(6) = NULL,
    @Counts NVARCHAR(MAX) = NULL,
    @Offsets NVARCHAR(MAX) = NULL,
    @Files NVARCHAR(MAX) = NULL,
    @WatermarkName NVARCHAR(4000) = NULL,
    @WatermarkValue NVARCHAR(MAX) = NULL,
    @WatermarkType NVARCHAR(4000) = NULL,
    @Reconciled BIT = 1,
    @Message NVARCHAR(MAX) = N'',
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ProjectName NVARCHAR(4000), @ObjectName NVARCHAR(4000), @OldHead BIGINT, @Saved BIT, @Problem NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    -- A call whose answer was lost comes again.
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @ExecutionID AND table_name = @TableName AND status = N'S')
    BEGIN
        COMMIT TRANSACTION;
        RETURN;
    END;
    SELECT @OldHead = head FROM [{schema}].[table_state] WHERE name = @TableName AND claimed_by = @ExecutionID;
    IF @OldHead IS NULL
    BEGIN
        SET @Problem = CONCAT(N'run ', @ExecutionID, N' no longer holds table ', @TableName, N': another run took it over. Nothing more is written.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51003, @Text = @Problem, @RaiseError = @RaiseError;
        RETURN;
    END;
    SELECT @ProjectName = project, @ObjectName = object FROM [{schema}].[run] WHERE run_id = @ExecutionID;
    IF @WatermarkName IS NOT NULL
    BEGIN
        EXEC [{schema}].[SaveWatermark] @ProjectName = @ProjectName, @ObjectName = @ObjectName, @Name = @WatermarkName,
            @Value = @WatermarkValue, @Type = @WatermarkType, @ExecutionID = @ExecutionID, @Force = 0, @Now = @Now,
            @Saved = @Saved OUTPUT, @Problem = @Problem OUTPUT;
    END;
    IF @Problem IS NOT NULL
    BEGIN
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51004, @Text = @Problem, @RaiseError = @RaiseError;
        RETURN;
    END;
    UPDATE [{schema}].[table_state]
    SET claimed_by = NULL, intent = NULL, ended_once = 1, head = CASE WHEN @Head > head THEN @Head ELSE head END,
        row_total = row_total + @RowTotal, live_keys = COALESCE(@LiveKeys, live_keys),
        last_load_datetime = COALESCE(@LastLoadDatetime, last_load_datetime), delta_version = @DeltaVersion
    WHERE name = @TableName;
    EXEC [{schema}].[SaveOffsets] @TableName = @TableName, @Offsets = @Offsets;
    DELETE FROM [{schema}].[row_count]
    WHERE run_id = @ExecutionID AND count_type IN (
        SELECT given.name COLLATE Latin1_General_100_BIN2 FROM OPENJSON(@Counts) WITH (name NVARCHAR(4000) '$.name') AS given);
    INSERT INTO [{schema}].[row_count] (run_id, object, count_type, [rows])
    SELECT @ExecutionID, @ObjectName, given.name, given.counted
    FROM OPENJSON(@Counts) WITH (name NVARCHAR(4000) '$.name', counted BIGINT '$.rows') AS given;
    DELETE FROM [{schema}].[file]
    WHERE project = @ProjectName AND source = @ObjectName AND EXISTS (
        SELECT 1
        FROM OPENJSON(@Files) WITH (path NVARCHAR(4000) '$.path', size BIGINT '$.size', checksum NVARCHAR(4000) '$.checksum') AS given
        WHERE given.path = [file].path COLLATE Latin1_General_100_BIN2 AND given.size = [file].size
            AND given.checksum = [file].checksum COLLATE Latin1_General_100_BIN2);
    INSERT INTO [{schema}].[file] (project, source, path, size, checksum, run_id, state, [at])
    SELECT @ProjectName, @ObjectName, given.path, given.size, given.checksum, @ExecutionID, N'loaded', @Now
    FROM OPENJSON(@Files) WITH (path NVARCHAR(4000) '$.path', size BIGINT '$.size', checksum NVARCHAR(4000) '$.checksum') AS given;
    UPDATE [{schema}].[run]
    SET position = CASE WHEN @Head > @OldHead THEN @Head END, version_after = @DeltaVersion, reconciled = @Reconciled
    WHERE run_id = @ExecutionID;
    EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'S', @NextStatus = N'P', @Message = @Message, @Now = @Now;
    EXEC [{schema}].[Learn] @ExecutionID = @ExecutionID, @Now = @Now;
    COMMIT TRANSACTION;
END;
GO

-- Records a load that did not run because one before it failed, or because its batch was asked to stop.
CREATE OR ALTER PROCEDURE [{schema}].[SkipLoad]
    @BatchExecutionID BIGINT,
    @ObjectName NVARCHAR(4000),
    @ObjectType NVARCHAR(4000),
    @Message NVARCHAR(MAX),
    @Process NVARCHAR(4000) = N'',
    @RequestID NVARCHAR(4000) = NULL,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ProjectName NVARCHAR(4000), @ExecutionID BIGINT, @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SELECT @ProjectName = project FROM [{schema}].[run] WHERE run_id = @BatchExecutionID;
    IF @ProjectName IS NULL
    BEGIN
        SET @Refusal = CONCAT(N'there is no run ', @BatchExecutionID, N' that could skip ', @ObjectName, N'.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51005, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    IF NOT EXISTS (SELECT 1 FROM [{schema}].[run] WHERE request_id = @RequestID)
    BEGIN
        EXEC [{schema}].[AddRun] @ParentID = @BatchExecutionID, @ExternalID = NULL, @RequestID = @RequestID,
            @ProjectName = @ProjectName, @Name = @ObjectName, @Kind = @ObjectType, @Status = N'C', @Process = @Process,
            @StaleSeconds = 0, @LongestSeconds = 0, @Now = @Now, @ExecutionID = @ExecutionID OUTPUT;
        EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'C', @NextStatus = N'P', @Message = @Message,
            @Now = @Now;
    END;
    COMMIT TRANSACTION;
END;
GO

-- The heads of the known ones of some tables; @Tables is ["table", ...].
CREATE OR ALTER PROCEDURE [{schema}].[GetHeads]
    @Tables NVARCHAR(MAX)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT name AS TableName, head AS Head
    FROM [{schema}].[table_state]
    WHERE name IN (
        SELECT given.name COLLATE Latin1_General_100_BIN2 FROM OPENJSON(@Tables) WITH (name NVARCHAR(4000) '$') AS given);
    COMMIT TRANSACTION;
END;
GO

CREATE OR ALTER PROCEDURE [{schema}].[GetFiles]
    @ProjectName NVARCHAR(4000),
    @ObjectName NVARCHAR(4000)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT path AS Path, size AS Size, checksum AS Checksum
    FROM [{schema}].[file]
    WHERE project = @ProjectName AND source = @ObjectName;
    COMMIT TRANSACTION;
END;
GO

CREATE OR ALTER PROCEDURE [{schema}].[GetCheckpoint]
    @TableName NVARCHAR(4000)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT version AS Version, position AS Position, layout AS Layout, row_total AS RowTotal
    FROM [{schema}].[checkpoint]
    WHERE name = @TableName;
    COMMIT TRANSACTION;
END;
GO

CREATE OR ALTER PROCEDURE [{schema}].[SaveCheckpoint]
    @TableName NVARCHAR(4000),
    @Version BIGINT,
    @Position BIGINT,
    @Layout NVARCHAR(MAX),
    @RowTotal BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    DELETE FROM [{schema}].[checkpoint] WHERE name = @TableName;
    INSERT INTO [{schema}].[checkpoint] (name, version, position, layout, row_total)
    VALUES (@TableName, @Version, @Position, @Layout, @RowTotal);
    COMMIT TRANSACTION;
END;
GO

-- From which position on a log's rows carry the marks of a subject; no row if they do not.
CREATE OR ALTER PROCEDURE [{schema}].[GetSubject]
    @Log NVARCHAR(4000),
    @Subject NVARCHAR(4000),
    @Layout NVARCHAR(MAX)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT since AS Since FROM [{schema}].[subject] WHERE log = @Log AND name = @Subject AND layout = @Layout;
    COMMIT TRANSACTION;
END;
GO

-- Notes that rows from a position on carry the marks of these subjects; @Subjects is [{"name", "layout"}].
CREATE OR ALTER PROCEDURE [{schema}].[SaveSubjects]
    @Log NVARCHAR(4000),
    @Subjects NVARCHAR(MAX),
    @Position BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    DELETE FROM [{schema}].[subject]
    WHERE log = @Log AND NOT EXISTS (
        SELECT 1
        FROM OPENJSON(@Subjects) WITH (name NVARCHAR(4000) '$.name', layout NVARCHAR(MAX) '$.layout') AS given
        WHERE given.name = [subject].name COLLATE Latin1_General_100_BIN2
            AND given.layout = [subject].layout COLLATE Latin1_General_100_BIN2);
    INSERT INTO [{schema}].[subject] (log, name, layout, since)
    SELECT @Log, given.name, given.layout, @Position
    FROM OPENJSON(@Subjects) WITH (name NVARCHAR(4000) '$.name', layout NVARCHAR(MAX) '$.layout') AS given
    WHERE NOT EXISTS (
        SELECT 1
        FROM [{schema}].[subject] AS known
        WHERE known.log = @Log AND known.name = given.name COLLATE Latin1_General_100_BIN2);
    COMMIT TRANSACTION;
END;
GO

-- The latest run of a batch (or of any) and its loads in order of their start; one row per run and count.
CREATE OR ALTER PROCEDURE [{schema}].[GetLatestBatch]
    @ProjectName NVARCHAR(4000),
    @BatchName NVARCHAR(4000) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @BatchID BIGINT;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SET @BatchID = (
        SELECT MAX(run_id)
        FROM [{schema}].[run]
        WHERE kind = N'batch' AND project = @ProjectName AND (@BatchName IS NULL OR object = @BatchName));
    SELECT run_id AS ExecutionID, parent_id AS ParentExecutionID, object AS ObjectName, kind AS ObjectType,
        status AS ExecutionStatus, next_status AS NextLoadStatus, started AS StartTime, ended AS EndTime, message AS Message,
        restarts AS RestartedExecutionID, attempt AS Attempt, row_audit_id AS RowAuditID, reconciled AS Reconciled,
        count_type AS CountType, [rows] AS CountedRows
    FROM [{schema}].[run_detail]
    WHERE run_id = @BatchID OR parent_id = @BatchID
    ORDER BY run_id, count_type;
    COMMIT TRANSACTION;
END;
GO

-- The latest batch runs of a project, newest first; one row per run and count.
CREATE OR ALTER PROCEDURE [{schema}].[GetBatches]
    @ProjectName NVARCHAR(4000),
    @Limit INT = 5
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT run_id AS ExecutionID, parent_id AS ParentExecutionID, object AS ObjectName, kind AS ObjectType,
        status AS ExecutionStatus, next_status AS NextLoadStatus, started AS StartTime, ended AS EndTime, message AS Message,
        restarts AS RestartedExecutionID, attempt AS Attempt, row_audit_id AS RowAuditID, reconciled AS Reconciled,
        count_type AS CountType, [rows] AS CountedRows
    FROM [{schema}].[run_detail]
    WHERE run_id IN (
        SELECT TOP (@Limit) latest.run_id
        FROM [{schema}].[run] AS latest
        WHERE latest.kind = N'batch' AND latest.project = @ProjectName
        ORDER BY latest.run_id DESC)
    ORDER BY run_id DESC, count_type;
    COMMIT TRANSACTION;
END;
GO

-- What a load of the table that died was about to do.
CREATE OR ALTER PROCEDURE [{schema}].[GetIntent]
    @TableName NVARCHAR(4000)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SELECT intent AS Intent FROM [{schema}].[table_state] WHERE name = @TableName;
    COMMIT TRANSACTION;
END;
GO

-- Forgets what a load that died was about to do; its rows were taken out, so the generation goes up.
CREATE OR ALTER PROCEDURE [{schema}].[ForgetIntent]
    @TableName NVARCHAR(4000)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    UPDATE [{schema}].[table_state]
    SET intent = NULL, generation = generation + 1, delta_version = NULL
    WHERE name = @TableName;
    COMMIT TRANSACTION;
END;
GO

-- The loads of a batch that wrote rows, newest first. Refused: it still runs, or a later run wrote one of its tables or read
-- from it.
CREATE OR ALTER PROCEDURE [{schema}].[GetWritten]
    @BatchExecutionID BIGINT,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @BatchName NVARCHAR(4000), @Living BIT, @LaterID BIGINT, @TableName NVARCHAR(4000), @Reader NVARCHAR(4000),
        @Refusal NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn] @LockMode = N'Shared';
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    SELECT @BatchName = object, @Living = CASE WHEN ended IS NULL AND alive_until > @Now THEN 1 ELSE 0 END
    FROM [{schema}].[run]
    WHERE run_id = @BatchExecutionID AND kind = N'batch';
    SELECT TOP (1) @LaterID = later.parent_id, @TableName = written.table_name
    FROM [{schema}].[written_run] AS written
    INNER JOIN [{schema}].[run] AS later ON later.table_name = written.table_name
    WHERE written.parent_id = @BatchExecutionID AND later.run_id > written.run_id AND later.parent_id <> @BatchExecutionID
        AND later.position IS NOT NULL AND later.rolled_back_by IS NULL
    ORDER BY written.run_id DESC, later.run_id;
    IF @LaterID IS NULL
    BEGIN
        SELECT TOP (1) @Reader = reader.target, @TableName = written.table_name
        FROM [{schema}].[written_run] AS written
        INNER JOIN [{schema}].[consumer_offset] AS reader ON reader.source = written.table_name
        WHERE written.parent_id = @BatchExecutionID AND reader.position >= written.position
            AND reader.target NOT IN (
                SELECT own.table_name FROM [{schema}].[run] AS own
                WHERE own.parent_id = @BatchExecutionID AND own.table_name IS NOT NULL)
        ORDER BY written.run_id DESC, reader.target;
    END;
    SET @Refusal = CASE
        WHEN @BatchName IS NULL THEN CONCAT(N'there is no batch run ', @BatchExecutionID, N'; lakehouse status --runs lists them.')
        WHEN @Living = 1 THEN CONCAT(N'run ', @BatchExecutionID, N' still executes; stop it first: lakehouse stop ', @BatchName, N'.')
        WHEN @LaterID IS NOT NULL THEN CONCAT(
            N'run ', @BatchExecutionID, N' is not the last that wrote ', @TableName, N': run ', @LaterID,
            N' did. Roll back the newest first: lakehouse rollback ', @LaterID, N'.')
        WHEN @Reader IS NOT NULL THEN CONCAT(
            @Reader, N' has read what run ', @BatchExecutionID, N' wrote to ', @TableName,
            N', in another batch. Roll back that run first.')
        END;
    IF @Refusal IS NOT NULL
    BEGIN
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51006, @Text = @Refusal, @RaiseError = @RaiseError;
        RETURN;
    END;
    SELECT run_id AS ExecutionID, object AS ObjectName, kind AS ObjectType, table_name AS TableName, position AS Position,
        version_after AS VersionAfter, row_audit_id AS RowAuditID, before_state AS BeforeState
    FROM [{schema}].[written_run]
    WHERE parent_id = @BatchExecutionID
    ORDER BY run_id DESC;
    COMMIT TRANSACTION;
END;
GO

-- Puts a table's state, offsets, watermarks and files back to what they were before a load, and ends the run that does it
-- (@ExecutionID), which holds the table; generation up. @Before is the before_state of the load, where need be changed.
CREATE OR ALTER PROCEDURE [{schema}].[PutBack]
    @ExecutionID BIGINT,
    @WrittenExecutionID BIGINT,
    @Before NVARCHAR(MAX),
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @ProjectName NVARCHAR(4000), @ObjectName NVARCHAR(4000), @TableName NVARCHAR(4000), @BatchID BIGINT,
        @Offsets NVARCHAR(MAX), @Watermarks NVARCHAR(MAX), @Head BIGINT, @RowTotal BIGINT, @LiveKeys BIGINT,
        @LastLoadDatetime DATETIME2(6), @EndedOnce BIT, @Message NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    -- A call whose answer was lost comes again.
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @WrittenExecutionID AND rolled_back_by = @ExecutionID)
    BEGIN
        COMMIT TRANSACTION;
        RETURN;
    END;
    SELECT @ProjectName = project, @ObjectName = object, @TableName = table_name, @BatchID = parent_id
    FROM [{schema}].[run]
    WHERE run_id = @WrittenExecutionID;
    SELECT @Head = was.head, @RowTotal = was.row_total, @LiveKeys = was.live_keys, @LastLoadDatetime = was.last_load_datetime,
        @EndedOnce = was.ended_once, @Offsets = was.[offsets], @Watermarks = was.watermarks
    FROM OPENJSON(@Before) WITH (
        head BIGINT '$.head', row_total BIGINT '$.row_total', live_keys BIGINT '$.live_keys',
        last_load_datetime DATETIME2(6) '$.last_load_datetime', ended_once BIT '$.ended_once',
        [offsets] NVARCHAR(MAX) '$.offsets' AS JSON, watermarks NVARCHAR(MAX) '$.watermarks' AS JSON) AS was;
    UPDATE [{schema}].[table_state]
    SET head = @Head, row_total = @RowTotal, live_keys = @LiveKeys, last_load_datetime = @LastLoadDatetime,
        delta_version = NULL, generation = generation + 1, claimed_by = NULL, intent = NULL, ended_once = @EndedOnce
    WHERE name = @TableName AND claimed_by = @ExecutionID;
    IF @@ROWCOUNT = 0
    BEGIN
        SET @Message = CONCAT(N'run ', @ExecutionID, N' no longer holds table ', @TableName, N': another run took it over. Nothing more is written.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51003, @Text = @Message, @RaiseError = @RaiseError;
        RETURN;
    END;
    DELETE FROM [{schema}].[consumer_offset] WHERE target = @TableName;
    EXEC [{schema}].[SaveOffsets] @TableName = @TableName, @Offsets = @Offsets;
    DELETE FROM [{schema}].[checkpoint] WHERE name = @TableName AND position > @Head;
    DELETE FROM [{schema}].[file] WHERE run_id = @WrittenExecutionID;
    DELETE FROM [{schema}].[parameter] WHERE project = @ProjectName AND object = @ObjectName;
    INSERT INTO [{schema}].[parameter] (project, object, name, value, type, run_id)
    SELECT @ProjectName, @ObjectName, was.name, was.value, was.type, @ExecutionID
    FROM OPENJSON(@Watermarks) WITH (
        name NVARCHAR(4000) '$.name', value NVARCHAR(MAX) '$.value', type NVARCHAR(4000) '$.type') AS was;
    INSERT INTO [{schema}].[parameter_history] (project, object, name, value, type, run_id, [at])
    SELECT @ProjectName, @ObjectName, was.name, was.value, was.type, @ExecutionID, @Now
    FROM OPENJSON(@Watermarks) WITH (
        name NVARCHAR(4000) '$.name', value NVARCHAR(MAX) '$.value', type NVARCHAR(4000) '$.type') AS was;
    UPDATE [{schema}].[run] SET rolled_back_by = @ExecutionID WHERE run_id IN (@WrittenExecutionID, @BatchID);
    SET @Message = CONCAT(N'took back what run ', @WrittenExecutionID, N' wrote');
    EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'S', @NextStatus = N'P', @Message = @Message, @Now = @Now;
    COMMIT TRANSACTION;
END;
GO

-- Sets offsets back and ends the run that does it, which holds the table. @Empty = 1: the table loses its rows, so its
-- generation goes up.
CREATE OR ALTER PROCEDURE [{schema}].[StartOver]
    @ExecutionID BIGINT,
    @TableName NVARCHAR(4000),
    @Offsets NVARCHAR(MAX),
    @Empty BIT,
    @RaiseError BIT = 1,
    @Now DATETIME2(6) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @Message NVARCHAR(MAX);
    BEGIN TRANSACTION;
    EXEC [{schema}].[TakeTurn];
    SET @Now = COALESCE(@Now, SYSUTCDATETIME());
    -- A call whose answer was lost comes again.
    IF EXISTS (SELECT 1 FROM [{schema}].[run] WHERE run_id = @ExecutionID AND table_name = @TableName AND status = N'S')
    BEGIN
        COMMIT TRANSACTION;
        RETURN;
    END;
    UPDATE [{schema}].[table_state]
    SET claimed_by = NULL, intent = NULL, delta_version = NULL,
        row_total = CASE WHEN @Empty = 1 THEN 0 ELSE row_total END,
        live_keys = CASE WHEN @Empty = 1 THEN 0 ELSE live_keys END,
        generation = CASE WHEN @Empty = 1 THEN generation + 1 ELSE generation END
    WHERE name = @TableName AND claimed_by = @ExecutionID;
    IF @@ROWCOUNT = 0
    BEGIN
        SET @Message = CONCAT(N'run ', @ExecutionID, N' no longer holds table ', @TableName, N': another run took it over. Nothing more is written.');
        ROLLBACK TRANSACTION;
        EXEC [{schema}].[Refuse] @Number = 51003, @Text = @Message, @RaiseError = @RaiseError;
        RETURN;
    END;
    DELETE FROM [{schema}].[consumer_offset] WHERE target = @TableName;
    EXEC [{schema}].[SaveOffsets] @TableName = @TableName, @Offsets = @Offsets;
    SET @Message = CASE WHEN @Empty = 1 THEN N'starts over' ELSE N'reads again' END;
    EXEC [{schema}].[EndRun] @ExecutionID = @ExecutionID, @Status = N'S', @NextStatus = N'P', @Message = @Message, @Now = @Now;
    COMMIT TRANSACTION;
END;
GO
