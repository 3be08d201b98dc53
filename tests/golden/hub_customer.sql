CREATE TABLE IF NOT EXISTS `vault`.`hub_customer` (
  `customer_hk` BINARY NOT NULL COMMENT 'MD5 of the business key',
  `customer_id` INT COMMENT 'Business key',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`hub_customer` (`customer_hk`, `customer_id`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_hk`, `customer_id`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the keys that the source delivers
    SELECT
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END AS `customer_hk`,
      `CustomerID` AS `customer_id`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`awlt_customer` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
    UNION ALL
    SELECT
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END AS `customer_hk`,
      `CustomerID` AS `customer_id`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`awlt_customer_address` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
    UNION ALL
    SELECT
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END AS `customer_hk`,
      `CustomerID` AS `customer_id`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`awlt_sales_order_header` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
  ),
  sequenced AS (
    -- the occurrences of each key, the earliest first
    SELECT *, row_number() OVER (PARTITION BY `customer_hk` ORDER BY load_datetime, record_source) AS occurrence
    FROM source
  ),
  known AS (
    -- the keys among them that the target has
    SELECT DISTINCT `customer_hk` FROM `vault`.`hub_customer` WHERE `customer_hk` IN (SELECT `customer_hk` FROM source)
  )
  SELECT
    sequenced.`customer_hk`,
    sequenced.`customer_id`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN sequenced.`customer_hk` IS NULL THEN 'excluded'
      WHEN known.`customer_hk` IS NOT NULL THEN 'unchanged'
      WHEN sequenced.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  LEFT JOIN known ON sequenced.`customer_hk` = known.`customer_hk`
)
WHERE outcome = 'inserted';
