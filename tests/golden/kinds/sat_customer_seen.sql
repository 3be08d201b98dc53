CREATE TABLE IF NOT EXISTS `vault`.`sat_customer_seen` (
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the row (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_customer_seen` (`customer_hk`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_hk`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- what the source tells, the first telling of a key at a moment before others
    SELECT *, row_number() OVER (PARTITION BY `customer_hk`, `record_source`, `load_datetime` ORDER BY applied_datetime) AS occurrence
    FROM (
      SELECT `customer_hk`, applied_datetime, load_datetime, record_source, row_audit_id
      FROM (SELECT * FROM `persistent_stage`.`crm_sale` WHERE load_position > :from_position AND load_position <= :to_position)
      LATERAL VIEW inline(array(struct(
        CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END
      ))) hashed AS `customer_hk`
      WHERE change_type <> 'D'
    )
  ),
  known AS (
    -- the tellings of these keys that the target has
    SELECT DISTINCT `customer_hk`, `record_source`, `load_datetime` FROM `vault`.`sat_customer_seen` WHERE `customer_hk` IN (SELECT `customer_hk` FROM source)
  )
  SELECT
    source.`customer_hk`,
    source.`applied_datetime`,
    source.`load_datetime`,
    source.`record_source`,
    source.`row_audit_id`,
    CASE
      WHEN source.`customer_hk` IS NULL THEN 'excluded'
      WHEN known.`customer_hk` IS NOT NULL THEN 'unchanged'
      WHEN source.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM source
  LEFT JOIN known
    ON known.`customer_hk` = source.`customer_hk` AND known.`record_source` = source.`record_source` AND known.`load_datetime` = source.`load_datetime`
)
WHERE outcome = 'inserted';
