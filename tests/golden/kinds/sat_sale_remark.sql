CREATE TABLE IF NOT EXISTS `vault`.`sat_sale_remark` (
  `sale_hk` BINARY NOT NULL COMMENT 'Hash key of hub_sale',
  `Remark` STRING,
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the row (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_sale_remark` (`sale_hk`, `Remark`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `sale_hk`, `Remark`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the keys that the source delivers
    SELECT
      CASE WHEN NOT (`SaleID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`SaleID` AS STRING)), ':', CAST(`SaleID` AS STRING)), '-'))) END AS `sale_hk`,
      `Remark`,
      applied_datetime,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`crm_sale` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
  ),
  sequenced AS (
    -- the occurrences of each key, the earliest first
    SELECT *, row_number() OVER (PARTITION BY `sale_hk` ORDER BY load_datetime, record_source) AS occurrence
    FROM source
  ),
  known AS (
    -- the keys among them that the target has
    SELECT DISTINCT `sale_hk` FROM `vault`.`sat_sale_remark` WHERE `sale_hk` IN (SELECT `sale_hk` FROM source)
  )
  SELECT
    sequenced.`sale_hk`,
    sequenced.`Remark`,
    sequenced.`applied_datetime`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN sequenced.`sale_hk` IS NULL THEN 'excluded'
      WHEN known.`sale_hk` IS NOT NULL THEN 'unchanged'
      WHEN sequenced.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  LEFT JOIN known ON sequenced.`sale_hk` = known.`sale_hk`
)
WHERE outcome = 'inserted';
