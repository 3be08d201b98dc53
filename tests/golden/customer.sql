-- persistent stage
CREATE TABLE IF NOT EXISTS `persistent_stage`.`awlt_customer` (
  `CustomerID` INT NOT NULL,
  `NameStyle` BOOLEAN,
  `Title` STRING,
  `FirstName` STRING,
  `MiddleName` STRING,
  `LastName` STRING,
  `Suffix` STRING,
  `CompanyName` STRING,
  `SalesPerson` STRING,
  `EmailAddress` STRING,
  `Phone` STRING,
  `PasswordHash` STRING,
  `PasswordSalt` STRING,
  `rowguid` STRING,
  `ModifiedDate` TIMESTAMP,
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `applied_datetime` TIMESTAMP NOT NULL COMMENT 'The business\'s own time of the row (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT NOT NULL COMMENT 'The run that staged the row',
  `change_type` STRING NOT NULL COMMENT 'I: new or returned, U: changed, D: gone',
  `changed_subjects` ARRAY<STRING> COMMENT 'The satellites for which the row differs from the one before',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

-- landing: typed, derived, fingerprinted
WITH typed AS (
  -- delivered values as their types, and the rule that a row breaks
  SELECT
    try_cast(delivered.`CustomerID` AS INT) AS `CustomerID`,
    try_cast(delivered.`NameStyle` AS BOOLEAN) AS `NameStyle`,
    delivered.`Title`,
    delivered.`FirstName`,
    delivered.`MiddleName`,
    delivered.`LastName`,
    delivered.`Suffix`,
    delivered.`CompanyName`,
    delivered.`SalesPerson`,
    delivered.`EmailAddress`,
    delivered.`Phone`,
    delivered.`PasswordHash`,
    delivered.`PasswordSalt`,
    delivered.`rowguid`,
    try_cast(delivered.`ModifiedDate` AS TIMESTAMP) AS `ModifiedDate`,
    source_file, delivered_row,
    CASE WHEN does_not_fit THEN 'ragged_row' WHEN (try_cast(delivered.`CustomerID` AS INT) IS NULL AND trim(CAST(delivered.`CustomerID` AS STRING)) <> '') OR (try_cast(delivered.`NameStyle` AS BOOLEAN) IS NULL AND trim(CAST(delivered.`NameStyle` AS STRING)) <> '') OR (try_cast(delivered.`ModifiedDate` AS TIMESTAMP) IS NULL AND trim(CAST(delivered.`ModifiedDate` AS STRING)) <> '') THEN 'wrong_type' WHEN try_cast(delivered.`CustomerID` AS INT) IS NULL THEN 'missing_key' END AS rule,
    CASE WHEN does_not_fit THEN 'the row does not have the columns of its header' WHEN try_cast(delivered.`CustomerID` AS INT) IS NULL AND trim(CAST(delivered.`CustomerID` AS STRING)) <> '' THEN 'column CustomerID cannot be read as int' WHEN try_cast(delivered.`NameStyle` AS BOOLEAN) IS NULL AND trim(CAST(delivered.`NameStyle` AS STRING)) <> '' THEN 'column NameStyle cannot be read as boolean' WHEN try_cast(delivered.`ModifiedDate` AS TIMESTAMP) IS NULL AND trim(CAST(delivered.`ModifiedDate` AS STRING)) <> '' THEN 'column ModifiedDate cannot be read as timestamp' WHEN try_cast(delivered.`CustomerID` AS INT) IS NULL THEN 'key (CustomerID) is not complete' END AS reason
  FROM delivered AS delivered
),
derived AS (
  SELECT
    `CustomerID`,
    `NameStyle`,
    `Title`,
    `FirstName`,
    `MiddleName`,
    `LastName`,
    `Suffix`,
    `CompanyName`,
    `SalesPerson`,
    `EmailAddress`,
    `Phone`,
    `PasswordHash`,
    `PasswordSalt`,
    `rowguid`,
    `ModifiedDate`,
    source_file, rule, reason, CASE WHEN rule IS NOT NULL THEN delivered_row END AS delivered_row
  FROM typed
)
SELECT
  *,
  xxhash64(`NameStyle` IS NULL, `NameStyle`, `Title` IS NULL, `Title`, `FirstName` IS NULL, `FirstName`, `MiddleName` IS NULL, `MiddleName`, `LastName` IS NULL, `LastName`, `Suffix` IS NULL, `Suffix`, `CompanyName` IS NULL, `CompanyName`, `SalesPerson` IS NULL, `SalesPerson`, `EmailAddress` IS NULL, `EmailAddress`, `Phone` IS NULL, `Phone`, `PasswordHash` IS NULL, `PasswordHash`, `PasswordSalt` IS NULL, `PasswordSalt`, `rowguid` IS NULL, `rowguid`, `ModifiedDate` IS NULL, `ModifiedDate`) AS `row_fingerprint`,
  xxhash64(`CompanyName` IS NULL, `CompanyName`, `SalesPerson` IS NULL, `SalesPerson`, `EmailAddress` IS NULL, `EmailAddress`, `Phone` IS NULL, `Phone`) AS `sat_customer_contact_fingerprint`,
  xxhash64(`PasswordHash` IS NULL, `PasswordHash`, `PasswordSalt` IS NULL, `PasswordSalt`, `rowguid` IS NULL, `rowguid`, `ModifiedDate` IS NULL, `ModifiedDate`) AS `sat_customer_credential_fingerprint`,
  xxhash64(`NameStyle` IS NULL, `NameStyle`, `Title` IS NULL, `Title`, `FirstName` IS NULL, `FirstName`, `MiddleName` IS NULL, `MiddleName`, `LastName` IS NULL, `LastName`, `Suffix` IS NULL, `Suffix`) AS `sat_customer_name_fingerprint`
FROM derived;

-- stage: stamped
SELECT
  *,
  rule IS NOT NULL AND (rule = 'ragged_row' OR `CustomerID` IS NULL) AS key_unreadable,
  :load_datetime AS load_datetime,
  coalesce(CAST(`ModifiedDate` AS TIMESTAMP), :load_datetime) AS applied_datetime,
  'awlt.SalesLT.Customer' AS record_source,
  CAST(:row_audit_id AS BIGINT) AS row_audit_id
FROM landed;

-- current rows
WITH newer AS (
  -- the newest rows of the keys that the log has touched since
  SELECT `CustomerID`, `row_fingerprint`, `sat_customer_contact_fingerprint`, `sat_customer_credential_fingerprint`, `sat_customer_name_fingerprint`, `change_type`, `load_datetime`, `applied_datetime`
  FROM (
    SELECT
      `CustomerID`,
      xxhash64(`NameStyle` IS NULL, `NameStyle`, `Title` IS NULL, `Title`, `FirstName` IS NULL, `FirstName`, `MiddleName` IS NULL, `MiddleName`, `LastName` IS NULL, `LastName`, `Suffix` IS NULL, `Suffix`, `CompanyName` IS NULL, `CompanyName`, `SalesPerson` IS NULL, `SalesPerson`, `EmailAddress` IS NULL, `EmailAddress`, `Phone` IS NULL, `Phone`, `PasswordHash` IS NULL, `PasswordHash`, `PasswordSalt` IS NULL, `PasswordSalt`, `rowguid` IS NULL, `rowguid`, `ModifiedDate` IS NULL, `ModifiedDate`) AS `row_fingerprint`,
      xxhash64(`CompanyName` IS NULL, `CompanyName`, `SalesPerson` IS NULL, `SalesPerson`, `EmailAddress` IS NULL, `EmailAddress`, `Phone` IS NULL, `Phone`) AS `sat_customer_contact_fingerprint`,
      xxhash64(`PasswordHash` IS NULL, `PasswordHash`, `PasswordSalt` IS NULL, `PasswordSalt`, `rowguid` IS NULL, `rowguid`, `ModifiedDate` IS NULL, `ModifiedDate`) AS `sat_customer_credential_fingerprint`,
      xxhash64(`NameStyle` IS NULL, `NameStyle`, `Title` IS NULL, `Title`, `FirstName` IS NULL, `FirstName`, `MiddleName` IS NULL, `MiddleName`, `LastName` IS NULL, `LastName`, `Suffix` IS NULL, `Suffix`) AS `sat_customer_name_fingerprint`,
      change_type, load_datetime, applied_datetime,
      row_number() OVER (PARTITION BY `CustomerID` ORDER BY load_datetime DESC) AS age
    FROM (SELECT * FROM `persistent_stage`.`awlt_customer` WHERE load_position > :checkpoint_position)
  )
  WHERE age = 1
)
SELECT `CustomerID`, `row_fingerprint`, `sat_customer_contact_fingerprint`, `sat_customer_credential_fingerprint`, `sat_customer_name_fingerprint`, `change_type`, `load_datetime`, `applied_datetime` FROM newer
UNION ALL
SELECT `CustomerID`, `row_fingerprint`, `sat_customer_contact_fingerprint`, `sat_customer_credential_fingerprint`, `sat_customer_name_fingerprint`, `change_type`, `load_datetime`, `applied_datetime` FROM `persistent_stage`.`awlt_customer_checkpoint` AS older
WHERE NOT EXISTS (SELECT 1 FROM newer WHERE older.`CustomerID` = newer.`CustomerID`);

-- compare: the rows to append, by outcome
WITH sequenced AS (
  -- the versions of each key in this delivery, the newest first
  SELECT
    *,
    row_number() OVER version AS version,
    first_value(struct(`row_fingerprint`, `sat_customer_contact_fingerprint`, `sat_customer_credential_fingerprint`, `sat_customer_name_fingerprint`)) OVER version AS neighbour
  FROM staged
  WINDOW version AS (PARTITION BY rule IS NULL, `CustomerID` ORDER BY `ModifiedDate` DESC NULLS LAST, row_fingerprint)
),
compared AS (
  -- each row beside the newest row of its key
  SELECT
    sequenced.*,
    current.change_type AS current_change_type,
    current.applied_datetime AS current_applied,
    CASE WHEN version = 1 THEN struct(current.`row_fingerprint`, current.`sat_customer_contact_fingerprint`, current.`sat_customer_credential_fingerprint`, current.`sat_customer_name_fingerprint`) ELSE neighbour END AS predecessor
  FROM sequenced
  LEFT JOIN current_rows AS current ON current.`CustomerID` = sequenced.`CustomerID`
),
judged AS (
  SELECT
    *,
    CASE
      WHEN rule IS NOT NULL THEN 'quarantined'
      WHEN version > 1 AND neighbour.row_fingerprint = row_fingerprint THEN 'duplicate'
      WHEN version > 1 THEN 'quarantined'
      WHEN current_change_type IS NULL OR current_change_type = 'D' THEN 'inserted'
      WHEN predecessor.row_fingerprint = row_fingerprint THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM compared
)
SELECT
  `CustomerID`,
  `NameStyle`,
  `Title`,
  `FirstName`,
  `MiddleName`,
  `LastName`,
  `Suffix`,
  `CompanyName`,
  `SalesPerson`,
  `EmailAddress`,
  `Phone`,
  `PasswordHash`,
  `PasswordSalt`,
  `rowguid`,
  `ModifiedDate`,
  timestampadd(MICROSECOND, version - 1, load_datetime) AS `load_datetime`,
  CASE WHEN outcome = 'inserted' AND current_change_type = 'D' THEN greatest(applied_datetime, load_datetime, timestampadd(MICROSECOND, 1, current_applied)) ELSE applied_datetime END AS `applied_datetime`,
  `record_source`,
  `row_audit_id`,
  CASE WHEN outcome = 'inserted' THEN 'I' ELSE 'U' END AS `change_type`,
  array_compact(array(CASE WHEN NOT (predecessor.`sat_customer_contact_fingerprint` <=> `sat_customer_contact_fingerprint`) THEN 'sat_customer_contact' END, CASE WHEN NOT (predecessor.`sat_customer_credential_fingerprint` <=> `sat_customer_credential_fingerprint`) THEN 'sat_customer_credential' END, CASE WHEN NOT (predecessor.`sat_customer_name_fingerprint` <=> `sat_customer_name_fingerprint`) THEN 'sat_customer_name' END)) AS `changed_subjects`,
  outcome
FROM judged
UNION ALL
SELECT
  log.`CustomerID`,
  log.`NameStyle`,
  log.`Title`,
  log.`FirstName`,
  log.`MiddleName`,
  log.`LastName`,
  log.`Suffix`,
  log.`CompanyName`,
  log.`SalesPerson`,
  log.`EmailAddress`,
  log.`Phone`,
  log.`PasswordHash`,
  log.`PasswordSalt`,
  log.`rowguid`,
  log.`ModifiedDate`,
  :load_datetime AS `load_datetime`,
  greatest(:load_datetime, timestampadd(MICROSECOND, 1, log.applied_datetime)) AS `applied_datetime`,
  log.`record_source`,
  CAST(:row_audit_id AS BIGINT) AS `row_audit_id`,
  'D' AS `change_type`,
  CAST(array() AS ARRAY<STRING>) AS `changed_subjects`,
  CASE WHEN count(*) OVER () > :max_deletes THEN raise_error('GUARD: source \'customer\': the snapshot would delete more keys than its delete_guard allows') ELSE 'deleted' END AS outcome
FROM (
  -- live keys that the snapshot no longer holds; none where a key could not be read
  SELECT current.`CustomerID`, current.`load_datetime`
  FROM current_rows AS current
  LEFT ANTI JOIN staged AS delivered ON current.`CustomerID` = delivered.`CustomerID`
  WHERE current.change_type <> 'D'
    AND (SELECT count(*) FROM staged WHERE key_unreadable) = 0
) AS gone
JOIN `persistent_stage`.`awlt_customer` AS log ON log.`CustomerID` = gone.`CustomerID` AND log.`load_datetime` = gone.`load_datetime`;
