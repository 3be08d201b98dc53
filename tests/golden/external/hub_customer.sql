CREATE TABLE IF NOT EXISTS `vault`.`hub_customer` (
  `customer_pk` STRING NOT NULL COMMENT 'Key',
  `customer_id` STRING COMMENT 'Business key',
  `name` STRING,
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`hub_customer` (`customer_pk`, `customer_id`, `name`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_pk`, `customer_id`, `name`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the keys that the source delivers
    SELECT
      `customer_pk`,
      `id` AS `customer_id`,
      `name`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`stage_staged` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
  ),
  sequenced AS (
    -- the occurrences of each key, the earliest first
    SELECT *, row_number() OVER (PARTITION BY `customer_pk` ORDER BY load_datetime, record_source) AS occurrence
    FROM source
  ),
  known AS (
    -- the keys among them that the target has
    SELECT DISTINCT `customer_pk` FROM `vault`.`hub_customer` WHERE `customer_pk` IN (SELECT `customer_pk` FROM source)
  )
  SELECT
    sequenced.`customer_pk`,
    sequenced.`customer_id`,
    sequenced.`name`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN sequenced.`customer_pk` IS NULL THEN 'excluded'
      WHEN known.`customer_pk` IS NOT NULL THEN 'unchanged'
      WHEN sequenced.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  LEFT JOIN known ON sequenced.`customer_pk` = known.`customer_pk`
)
WHERE outcome = 'inserted';
