CREATE TABLE IF NOT EXISTS `vault`.`sat_order` (
  `order_pk` STRING NOT NULL COMMENT 'Key of link_order',
  `customer_pk` STRING COMMENT 'Key of an end of the link',
  `item_pk` STRING COMMENT 'Key of an end of the link',
  `active_flag` BOOLEAN NOT NULL COMMENT 'Whether the combination holds from here on',
  `starts_at` TIMESTAMP NOT NULL COMMENT 'From when it holds (UTC)',
  `ends_at` TIMESTAMP COMMENT 'Until when it holds or held (UTC)',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the change (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_order` (`order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH source AS (
    -- what is delivered of each combination: whether it holds, and its own dates
    SELECT
      *,
      ends_at IS NULL OR ends_at >= TIMESTAMP '9999-12-31' AS active_flag,
      `order_pk` IS NULL OR `customer_pk` IS NULL OR `item_pk` IS NULL AS incomplete,
      row_number() OVER (PARTITION BY `order_pk`, load_datetime ORDER BY ends_at DESC, row_audit_id) AS occurrence
    FROM (
      SELECT
        `order_pk`,
        `customer_pk`,
        `item_pk`,
        CAST(NULL AS TIMESTAMP) AS starts_at, coalesce(CAST(`until` AS TIMESTAMP), TIMESTAMP '9999-12-31') AS ends_at, applied_datetime, record_source, row_audit_id, load_datetime
      FROM (SELECT * FROM (SELECT * FROM `persistent_stage`.`stage_staged` WHERE load_position > :from_position AND load_position <= :to_position) WHERE change_type <> 'D')
    )
  ),
  told AS (
    SELECT * FROM source WHERE occurrence = 1 AND NOT incomplete
  ),
  known AS (
    -- what the target says of these driving keys
    SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `record_source`, `row_audit_id`, `load_datetime` FROM `vault`.`sat_order` WHERE `customer_pk` IN (SELECT `customer_pk` FROM told)
  ),
  moments AS (
    -- when a driving key was delivered
    SELECT `customer_pk`, load_datetime, max(applied_datetime) AS applied_datetime, max(record_source) AS record_source, max(row_audit_id) AS row_audit_id FROM told GROUP BY `customer_pk`, load_datetime
  ),
  combinations AS (
    -- every combination of these driving keys, delivered or stored
    SELECT `order_pk`, `customer_pk`, max_by(details, load_datetime) AS details
    FROM (
      SELECT `order_pk`, `customer_pk`, struct(`item_pk`) AS details, load_datetime FROM told
      UNION ALL
      SELECT `order_pk`, `customer_pk`, struct(`item_pk`), load_datetime FROM known
    )
    GROUP BY `order_pk`, `customer_pk`
  ),
  states AS (
    -- whether each of them holds at each of these moments
    SELECT
      combinations.`order_pk`, combinations.`customer_pk`,
      combinations.details.`item_pk`,
      coalesce(told.active_flag, FALSE) AS active_flag,
      told.starts_at,
      CASE WHEN told.active_flag THEN told.ends_at ELSE moments.applied_datetime END AS ends_at,
      coalesce(told.applied_datetime, moments.applied_datetime) AS applied_datetime, coalesce(told.record_source, moments.record_source) AS record_source, coalesce(told.row_audit_id, moments.row_audit_id) AS row_audit_id,
      moments.load_datetime,
      told.load_datetime IS NOT NULL AS delivered
    FROM combinations
    JOIN moments ON combinations.`customer_pk` = moments.`customer_pk`
    LEFT JOIN told ON told.`order_pk` = combinations.`order_pk` AND told.`customer_pk` = combinations.`customer_pk` AND told.load_datetime = moments.load_datetime
  ),
  versions AS (
    SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `record_source`, `row_audit_id`, `load_datetime`, delivered, FALSE AS stored FROM states
    UNION ALL
    SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `record_source`, `row_audit_id`, `load_datetime`, FALSE, TRUE FROM known
  ),
  sequenced AS (
    -- each state beside the one before it
    SELECT *, lag(struct(active_flag, ends_at)) OVER (PARTITION BY `order_pk` ORDER BY load_datetime, stored DESC) AS predecessor
    FROM versions
  ),
  opened AS (
    -- and the start of the opening that it belongs to
    SELECT
      * EXCEPT (starts_at),
      last_value(CASE
        WHEN stored THEN starts_at
        WHEN predecessor IS NULL OR active_flag AND NOT predecessor.active_flag THEN coalesce(starts_at, applied_datetime)
      END) IGNORE NULLS OVER (PARTITION BY `order_pk` ORDER BY load_datetime, stored DESC) AS starts_at
    FROM sequenced
  ),
  judged AS (
    SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, delivered, CASE WHEN active_flag <> coalesce(predecessor.active_flag, FALSE) THEN 'inserted' ELSE 'unchanged' END AS outcome
    FROM opened
    WHERE NOT stored
  )
  SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, outcome FROM judged WHERE delivered OR outcome = 'inserted'
  UNION ALL
  SELECT `order_pk`, `customer_pk`, `item_pk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, CASE WHEN incomplete THEN 'excluded' ELSE 'duplicate' END FROM source WHERE incomplete OR occurrence > 1
)
WHERE outcome = 'inserted';
