-- Control catalog, version 1: tables and views. May be run again at any time.
-- Needs SQL Server 2016 SP1 or later or Azure SQL, at compatibility level 130 or higher.
-- Names and values compare exactly (Latin1_General_100_BIN2), whatever the database's collation; all times are UTC.
SET ANSI_NULLS ON;
SET QUOTED_IDENTIFIER ON;
GO

-- CREATE SCHEMA must stand alone in its batch, so it is the one constant text that is executed.
IF SCHEMA_ID(N'{schema}') IS NULL
BEGIN
    EXEC (N'CREATE SCHEMA [{schema}]');
END;
GO

IF OBJECT_ID(N'[{schema}].[catalog_version]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[catalog_version] (
        version INT NOT NULL,
        installed DATETIME2(6) NOT NULL,
        CONSTRAINT [pk_catalog_version] PRIMARY KEY (version)
    );
END;
GO

-- A batch, or one load inside it. alive_until: without another word it counts as dead from then on.
IF OBJECT_ID(N'[{schema}].[run]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[run] (
        run_id BIGINT IDENTITY(1, 1) NOT NULL,
        parent_id BIGINT NULL,
        external_id NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NULL,
        request_id NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NULL,
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        kind NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
        status NCHAR(1) COLLATE Latin1_General_100_BIN2 NOT NULL,
        next_status NCHAR(1) COLLATE Latin1_General_100_BIN2 NOT NULL CONSTRAINT [df_run_next_status] DEFAULT N'P',
        started DATETIME2(6) NOT NULL,
        ended DATETIME2(6) NULL,
        heartbeat DATETIME2(6) NULL,
        alive_until DATETIME2(6) NOT NULL,
        stale_seconds INT NOT NULL,
        process NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
        message NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL CONSTRAINT [df_run_message] DEFAULT N'',
        attempt INT NOT NULL CONSTRAINT [df_run_attempt] DEFAULT 1,
        row_audit_id BIGINT NULL,
        restarts BIGINT NULL,
        landed_run_id BIGINT NULL,
        table_name NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NULL,
        position BIGINT NULL,
        version_after BIGINT NULL,
        before_state NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL,
        stop_requested BIT NOT NULL CONSTRAINT [df_run_stop_requested] DEFAULT 0,
        reconciled BIT NOT NULL CONSTRAINT [df_run_reconciled] DEFAULT 1,
        rolled_back_by BIGINT NULL,
        CONSTRAINT [pk_run] PRIMARY KEY (run_id),
        CONSTRAINT [ck_run_status] CHECK (status IN (N'E', N'S', N'F', N'A', N'C', N'R', N'D')),
        CONSTRAINT [ck_run_next_status] CHECK (next_status IN (N'P', N'C', N'R', N'D'))
    );
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[run]', N'U'), N'run_of_batch', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [run_of_batch] ON [{schema}].[run] (parent_id);
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[run]', N'U'), N'run_of_object', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [run_of_object] ON [{schema}].[run] (project, object, kind) INCLUDE (status, parent_id);
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[run]', N'U'), N'run_executing', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [run_executing] ON [{schema}].[run] (project, object) INCLUDE (kind, parent_id, alive_until, process)
        WHERE ended IS NULL;
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[run]', N'U'), N'run_external', N'IndexID') IS NULL
BEGIN
    CREATE UNIQUE INDEX [run_external] ON [{schema}].[run] (project, external_id, object) WHERE external_id IS NOT NULL;
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[run]', N'U'), N'run_request', N'IndexID') IS NULL
BEGIN
    CREATE UNIQUE INDEX [run_request] ON [{schema}].[run] (request_id) WHERE request_id IS NOT NULL;
END;
GO

IF OBJECT_ID(N'[{schema}].[object]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[object] (
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        name NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        kind NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
        enabled BIT NOT NULL CONSTRAINT [df_object_enabled] DEFAULT 1,
        failures INT NOT NULL CONSTRAINT [df_object_failures] DEFAULT 0,
        definition NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL CONSTRAINT [df_object_definition] DEFAULT N'',
        runs INT NOT NULL CONSTRAINT [df_object_runs] DEFAULT 0,
        average_seconds FLOAT NOT NULL CONSTRAINT [df_object_average_seconds] DEFAULT 0,
        CONSTRAINT [pk_object] PRIMARY KEY (project, name)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[table_state]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[table_state] (
        name NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        generation BIGINT NOT NULL CONSTRAINT [df_table_state_generation] DEFAULT 0,
        head BIGINT NOT NULL CONSTRAINT [df_table_state_head] DEFAULT 0,
        issued BIGINT NOT NULL CONSTRAINT [df_table_state_issued] DEFAULT 0,
        row_total BIGINT NOT NULL CONSTRAINT [df_table_state_row_total] DEFAULT 0,
        live_keys BIGINT NOT NULL CONSTRAINT [df_table_state_live_keys] DEFAULT 0,
        last_load_datetime DATETIME2(6) NULL,
        delta_version BIGINT NULL,
        claimed_by BIGINT NULL,
        ended_once BIT NOT NULL CONSTRAINT [df_table_state_ended_once] DEFAULT 0,
        intent NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL,
        CONSTRAINT [pk_table_state] PRIMARY KEY (name),
        CONSTRAINT [ck_table_state_intent] CHECK (intent IS NULL OR ISJSON(intent) = 1)
    );
END;
GO

-- Two names of a table are longer than a clustered key may be (900 bytes), not than a nonclustered one (1,700 bytes).
IF OBJECT_ID(N'[{schema}].[consumer_offset]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[consumer_offset] (
        target NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        source NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        position BIGINT NOT NULL,
        CONSTRAINT [pk_consumer_offset] PRIMARY KEY NONCLUSTERED (target, source)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[row_count]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[row_count] (
        run_id BIGINT NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        count_type NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [rows] BIGINT NOT NULL,
        control_sum NVARCHAR(200) COLLATE Latin1_General_100_BIN2 NULL,
        CONSTRAINT [pk_row_count] PRIMARY KEY (run_id, count_type)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[load_error]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[load_error] (
        run_id BIGINT NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        error NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
        message NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [at] DATETIME2(6) NOT NULL
    );
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[load_error]', N'U'), N'load_error_of_run', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [load_error_of_run] ON [{schema}].[load_error] (run_id);
END;
GO

IF OBJECT_ID(N'[{schema}].[parameter]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[parameter] (
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        name NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        value NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        previous_value NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL,
        type NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        run_id BIGINT NULL,
        CONSTRAINT [pk_parameter] PRIMARY KEY NONCLUSTERED (project, object, name)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[parameter_history]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[parameter_history] (
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        name NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        value NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        type NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        run_id BIGINT NULL,
        [at] DATETIME2(6) NOT NULL
    );
END;
GO

-- A path is too long for a key; EndLoad, which is alone when it writes, keeps the rows apart.
IF OBJECT_ID(N'[{schema}].[file]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[file] (
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        source NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        path NVARCHAR(3000) COLLATE Latin1_General_100_BIN2 NOT NULL,
        size BIGINT NOT NULL,
        checksum NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        run_id BIGINT NOT NULL,
        state NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [at] DATETIME2(6) NOT NULL
    );
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[file]', N'U'), N'file_of_source', N'IndexID') IS NULL
BEGIN
    CREATE CLUSTERED INDEX [file_of_source] ON [{schema}].[file] (project, source);
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[file]', N'U'), N'file_of_run', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [file_of_run] ON [{schema}].[file] (run_id);
END;
GO

IF OBJECT_ID(N'[{schema}].[checkpoint]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[checkpoint] (
        name NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        version BIGINT NOT NULL,
        position BIGINT NOT NULL,
        layout NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        row_total BIGINT NOT NULL,
        CONSTRAINT [pk_checkpoint] PRIMARY KEY (name)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[subject]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[subject] (
        log NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        name NVARCHAR(425) COLLATE Latin1_General_100_BIN2 NOT NULL,
        layout NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        since BIGINT NOT NULL,
        CONSTRAINT [pk_subject] PRIMARY KEY NONCLUSTERED (log, name)
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[quality_result]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[quality_result] (
        run_id BIGINT NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [rule] NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
        passed BIT NOT NULL,
        [rows] BIGINT NULL,
        failed_rows BIGINT NULL,
        message NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL CONSTRAINT [df_quality_result_message] DEFAULT N'',
        [at] DATETIME2(6) NOT NULL
    );
END;
GO

IF INDEXPROPERTY(OBJECT_ID(N'[{schema}].[quality_result]', N'U'), N'quality_result_of_run', N'IndexID') IS NULL
BEGIN
    CREATE INDEX [quality_result_of_run] ON [{schema}].[quality_result] (run_id);
END;
GO

IF OBJECT_ID(N'[{schema}].[schema_change]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[schema_change] (
        run_id BIGINT NOT NULL,
        object NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        change NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [at] DATETIME2(6) NOT NULL
    );
END;
GO

IF OBJECT_ID(N'[{schema}].[snapshot_date]', N'U') IS NULL
BEGIN
    CREATE TABLE [{schema}].[snapshot_date] (
        project NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        name NVARCHAR(256) COLLATE Latin1_General_100_BIN2 NOT NULL,
        snapshot NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
        CONSTRAINT [pk_snapshot_date] PRIMARY KEY (project, name, snapshot)
    );
END;
GO

CREATE OR ALTER VIEW [{schema}].[current_run] AS
SELECT run_id, parent_id, external_id, project, object, kind, status, started, heartbeat, alive_until, process, attempt,
    row_audit_id, restarts, landed_run_id, table_name, stop_requested
FROM [{schema}].[run]
WHERE ended IS NULL;
GO

CREATE OR ALTER VIEW [{schema}].[latest_batch] AS
SELECT run_id, external_id, project, object, status, next_status, started, ended, process, message, attempt, restarts,
    landed_run_id, rolled_back_by
FROM [{schema}].[run]
WHERE run_id IN (SELECT MAX(run_id) FROM [{schema}].[run] WHERE kind = N'batch' GROUP BY project, object);
GO

CREATE OR ALTER VIEW [{schema}].[last_five] AS
SELECT ranked.run_id, ranked.external_id, ranked.project, ranked.object, ranked.status, ranked.next_status, ranked.started,
    ranked.ended, ranked.process, ranked.message, ranked.attempt, ranked.restarts, ranked.landed_run_id, ranked.rolled_back_by
FROM (
    SELECT run_id, external_id, project, object, status, next_status, started, ended, process, message, attempt, restarts,
        landed_run_id, rolled_back_by, ROW_NUMBER() OVER (PARTITION BY project, object ORDER BY run_id DESC) AS age
    FROM [{schema}].[run]
    WHERE kind = N'batch'
) AS ranked
WHERE ranked.age <= 5;
GO

CREATE OR ALTER VIEW [{schema}].[run_detail] AS
SELECT run.run_id, run.parent_id, run.external_id, run.project, run.object, run.kind, run.status, run.next_status,
    run.started, run.ended, run.heartbeat, run.process, run.message, run.attempt, run.row_audit_id, run.restarts,
    run.landed_run_id, run.table_name, run.position, run.version_after, run.reconciled, run.rolled_back_by,
    counted.count_type, counted.[rows], counted.control_sum
FROM [{schema}].[run] AS run
LEFT JOIN [{schema}].[row_count] AS counted ON counted.run_id = run.run_id;
GO

-- Loads that moved anything (rows, offsets, files or a watermark) or left an intent behind: what a rollback takes back.
CREATE OR ALTER VIEW [{schema}].[written_run] AS
SELECT run.run_id, run.parent_id, run.object, run.kind, run.table_name, run.position, run.version_after,
    run.row_audit_id, run.before_state
FROM [{schema}].[run] AS run
LEFT JOIN [{schema}].[table_state] AS state ON state.name = run.table_name
WHERE run.table_name IS NOT NULL
    AND run.rolled_back_by IS NULL
    AND run.kind NOT IN (N'rollback', N'reload')
    AND (run.status = N'S' OR CAST(JSON_VALUE(state.intent, '$.row_audit_id') AS BIGINT) = run.row_audit_id);
GO
