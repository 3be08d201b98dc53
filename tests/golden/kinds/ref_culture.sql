CREATE TABLE IF NOT EXISTS `vault`.`ref_culture` (
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

MERGE INTO `vault`.`ref_culture` AS target
USING (
  WITH source AS (
    -- what the source says of each code, the latest first
    SELECT
      `CultureID`,
      `Name`,
      hash_diff,
      change_type = 'D' AS `deleted_flag`,
      `applied_datetime`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`,
      row_number() OVER (PARTITION BY `CultureID` ORDER BY load_datetime DESC, hash_diff) AS age
    FROM (SELECT * FROM `persistent_stage`.`crm_culture` WHERE load_position > :from_position AND load_position <= :to_position)
    LATERAL VIEW inline(array(struct(
      unhex(md5(coalesce(concat(char_length(`Name`), ':', `Name`), '-')))
    ))) hashed AS `hash_diff`
  )
  SELECT
    source.`CultureID`,
    source.`Name`,
    source.`hash_diff`,
    source.`deleted_flag`,
    source.`applied_datetime`,
    source.`load_datetime`,
    source.`record_source`,
    source.`row_audit_id`,
    CASE
      WHEN source.`CultureID` IS NULL THEN 'excluded'
      WHEN age > 1 THEN 'duplicate'
      WHEN target.hash_diff IS NULL THEN 'inserted'
      WHEN target.load_datetime > source.load_datetime THEN 'unchanged'
      WHEN target.hash_diff = source.hash_diff AND target.deleted_flag = source.deleted_flag THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM source
  LEFT JOIN `vault`.`ref_culture` AS target ON target.`CultureID` = source.`CultureID`
) AS changes
ON target.`CultureID` = changes.`CultureID`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN MATCHED AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN UPDATE SET `Name` = changes.`Name`, `hash_diff` = changes.`hash_diff`, `deleted_flag` = changes.`deleted_flag`, `applied_datetime` = changes.`applied_datetime`, `load_datetime` = changes.`load_datetime`, `record_source` = changes.`record_source`, `row_audit_id` = changes.`row_audit_id`
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`CultureID`, `Name`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`) VALUES (changes.`CultureID`, changes.`Name`, changes.`hash_diff`, changes.`deleted_flag`, changes.`applied_datetime`, changes.`load_datetime`, changes.`record_source`, changes.`row_audit_id`);
