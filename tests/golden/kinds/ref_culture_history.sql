CREATE TABLE IF NOT EXISTS `vault`.`ref_culture_history` (
  `CultureID` STRING NOT NULL COMMENT 'Code',
  `Name` STRING,
  `hash_diff` BINARY NOT NULL COMMENT 'Hash of the descriptive columns',
  `deleted_flag` BOOLEAN NOT NULL COMMENT 'Whether the source deleted the code',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the row (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`ref_culture_history` (`CultureID`, `Name`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `CultureID`, `Name`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- what the source says of each key
    SELECT
      `CultureID`,
      `Name`,
      `hash_diff`,
      change_type = 'D' AS `deleted_flag`,
      `applied_datetime`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`,
      FALSE AS stored
    FROM (SELECT * FROM `persistent_stage`.`crm_culture` WHERE load_position > :from_position AND load_position <= :to_position)
    LATERAL VIEW inline(array(struct(
      unhex(md5(coalesce(concat(char_length(`Name`), ':', `Name`), '-')))
    ))) hashed AS `hash_diff`
  ),
  versions AS (
    -- the versions of these keys, delivered and stored
    SELECT `CultureID`, hash_diff, deleted_flag, load_datetime, stored, `Name`, `applied_datetime`, `record_source`, `row_audit_id`
    FROM source
    UNION ALL
    SELECT `CultureID`, hash_diff, deleted_flag, load_datetime, TRUE AS stored, NULL AS `Name`, NULL AS `applied_datetime`, NULL AS `record_source`, NULL AS `row_audit_id`
    FROM `vault`.`ref_culture_history`
    WHERE `CultureID` IN (SELECT `CultureID` FROM (SELECT * FROM `persistent_stage`.`crm_culture` WHERE load_position > :from_position AND load_position <= :to_position))
  ),
  sequenced AS (
    -- each version beside the one before it in load order
    SELECT
      *,
      lag(struct(hash_diff, deleted_flag, load_datetime, stored)) OVER (
        PARTITION BY `CultureID` ORDER BY load_datetime, stored DESC, hash_diff
      ) AS predecessor
    FROM versions
  )
  SELECT
    sequenced.`CultureID`,
    sequenced.`Name`,
    sequenced.`hash_diff`,
    sequenced.`deleted_flag`,
    sequenced.`applied_datetime`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN `CultureID` IS NULL THEN 'excluded'
      WHEN predecessor.load_datetime = load_datetime AND NOT (predecessor.hash_diff = hash_diff AND predecessor.deleted_flag = deleted_flag) THEN raise_error('reference table \'ref_culture_history\': several rows of source \'culture\' give one code at one load date-time. Name all columns of the code as its key.')
      WHEN predecessor.hash_diff = hash_diff AND predecessor.deleted_flag = deleted_flag THEN
        CASE WHEN predecessor.stored OR predecessor.load_datetime < load_datetime THEN 'unchanged' ELSE 'duplicate' END
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  WHERE NOT stored
)
WHERE outcome = 'inserted';
