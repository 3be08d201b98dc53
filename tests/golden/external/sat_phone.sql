CREATE TABLE IF NOT EXISTS `vault`.`sat_phone` (
  `customer_pk` STRING NOT NULL COMMENT 'Key of hub_customer',
  `phone` STRING COMMENT 'Multi-active key',
  `name` STRING,
  `hash_diff` STRING NOT NULL COMMENT 'Hash of the row\'s columns',
  `deleted_flag` BOOLEAN NOT NULL COMMENT 'Whether the parent lost its last row here',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the change (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_phone` (`customer_pk`, `phone`, `name`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_pk`, `phone`, `name`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- the rows of each set as delivered
    SELECT *, row_number() OVER (PARTITION BY `customer_pk`, `load_datetime`, `hash_diff`, `phone` ORDER BY row_audit_id) AS occurrence
    FROM (
      SELECT `customer_pk`, `hash_diff`, `phone`, `name`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, change_type = 'D' AS deleted_flag
      FROM (SELECT * FROM `persistent_stage`.`stage_staged` WHERE load_position > :from_position AND load_position <= :to_position)
      LATERAL VIEW inline(array(struct(
        `row_hash`
      ))) hashed AS `hash_diff`
    )
  ),
  marks AS (
    -- each set as one value, delivered and stored
    SELECT `customer_pk`, load_datetime, stored, array_sort(collect_set(CASE WHEN NOT deleted_flag THEN struct(`hash_diff`, `phone`) END)) AS set_mark
    FROM (
      SELECT `customer_pk`, load_datetime, FALSE AS stored, deleted_flag, `hash_diff`, `phone` FROM source
      WHERE NOT (`phone` IS NULL)
      UNION ALL
      SELECT `customer_pk`, load_datetime, TRUE AS stored, deleted_flag, `hash_diff`, `phone` FROM `vault`.`sat_phone`
      WHERE `customer_pk` IN (SELECT `customer_pk` FROM source)
    )
    GROUP BY `customer_pk`, load_datetime, stored
  ),
  compared AS (
    -- each set beside the one before it
    SELECT *, set_mark = coalesce(lag(set_mark) OVER (PARTITION BY `customer_pk` ORDER BY load_datetime, stored DESC), slice(set_mark, 1, 0)) AS unchanged
    FROM marks
  )
  SELECT
    source.`customer_pk`,
    source.`phone`,
    source.`name`,
    source.`hash_diff`,
    source.`deleted_flag`,
    source.`applied_datetime`,
    source.`load_datetime`,
    source.`record_source`,
    source.`row_audit_id`,
    CASE
      WHEN source.`customer_pk` IS NULL OR source.`phone` IS NULL THEN 'excluded'
      WHEN source.occurrence > 1 THEN 'duplicate'
      WHEN compared.unchanged THEN 'unchanged'
      ELSE 'inserted'
    END AS outcome
  FROM source
  LEFT JOIN compared
    ON compared.`customer_pk` = source.`customer_pk` AND compared.`load_datetime` = source.`load_datetime` AND NOT compared.stored
)
WHERE outcome = 'inserted';
