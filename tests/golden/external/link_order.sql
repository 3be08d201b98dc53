CREATE TABLE IF NOT EXISTS `vault`.`link_order` (
  `order_pk` STRING NOT NULL COMMENT 'Key',
  `customer_pk` STRING NOT NULL COMMENT 'Key of hub_customer',
  `item_pk` STRING NOT NULL COMMENT 'Key of hub_item',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`link_order` (`order_pk`, `customer_pk`, `item_pk`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `order_pk`, `customer_pk`, `item_pk`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the keys that the source delivers
    SELECT
      CASE WHEN NOT (`customer_pk` IS NULL OR `item_pk` IS NULL) THEN `order_pk` END AS `order_pk`,
      coalesce(`customer_pk`, '00000000000000000000000000000000') AS `customer_pk`,
      coalesce(`item_pk`, '00000000000000000000000000000000') AS `item_pk`,
      `load_datetime`,
      `record_source`,
      `row_audit_id`
    FROM (SELECT * FROM `persistent_stage`.`stage_staged` WHERE load_position > :from_position AND load_position <= :to_position)
    WHERE change_type <> 'D'
  ),
  sequenced AS (
    -- the occurrences of each key, the earliest first
    SELECT *, row_number() OVER (PARTITION BY `order_pk` ORDER BY load_datetime, record_source) AS occurrence
    FROM source
  ),
  known AS (
    -- the keys among them that the target has
    SELECT DISTINCT `order_pk` FROM `vault`.`link_order` WHERE `order_pk` IN (SELECT `order_pk` FROM source)
  )
  SELECT
    sequenced.`order_pk`,
    sequenced.`customer_pk`,
    sequenced.`item_pk`,
    sequenced.`load_datetime`,
    sequenced.`record_source`,
    sequenced.`row_audit_id`,
    CASE
      WHEN sequenced.`order_pk` IS NULL THEN 'excluded'
      WHEN known.`order_pk` IS NOT NULL THEN 'unchanged'
      WHEN sequenced.occurrence > 1 THEN 'duplicate'
      ELSE 'inserted'
    END AS outcome
  FROM sequenced
  LEFT JOIN known ON sequenced.`order_pk` = known.`order_pk`
)
WHERE outcome = 'inserted';
