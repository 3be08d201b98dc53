CREATE TABLE IF NOT EXISTS `vault`.`link_sale` (
  `link_sale_hk` BINARY NOT NULL COMMENT 'MD5 of all business keys and child keys',
  `sale_hk` BINARY NOT NULL COMMENT 'Hash key of hub_sale',
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `Amount` DECIMAL(9,2),
  `hash_diff` BINARY NOT NULL COMMENT 'Hash of the event\'s columns',
  `reversal_flag` BOOLEAN NOT NULL COMMENT 'Whether the row takes a former one back',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the row (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`link_sale` (`link_sale_hk`, `sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `reversal_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `link_sale_hk`, `sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `reversal_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH said AS (
    -- what the source says of each event
    SELECT
      `link_sale_hk`,
      `sale_hk`,
      `customer_hk`,
      `Amount`,
      `hash_diff`,
      applied_datetime,
      `load_datetime`,
      `record_source`,
      `row_audit_id`,
      change_type <> 'D' AS there,
      load_position > :from_position AS is_new,
      lag(`link_sale_hk`) OVER (PARTITION BY `SaleID` ORDER BY load_datetime) AS former_key
    FROM (SELECT * FROM `persistent_stage`.`crm_sale` LEFT SEMI JOIN (SELECT DISTINCT `SaleID` FROM `persistent_stage`.`crm_sale` WHERE load_position > :from_position) USING (`SaleID`))
    LATERAL VIEW inline(array(struct(
      unhex(md5(concat(coalesce(concat(char_length(CAST(`SaleID` AS STRING)), ':', CAST(`SaleID` AS STRING)), '-'), coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-')))),
      CASE WHEN `SaleID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`SaleID` AS STRING)), ':', CAST(`SaleID` AS STRING)), '-'))) END,
      CASE WHEN `CustomerID` IS NULL THEN unhex('00000000000000000000000000000000') ELSE unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END,
      unhex(md5(coalesce(concat(char_length(CAST(`Amount` AS STRING)), ':', CAST(`Amount` AS STRING)), '-')))
    ))) hashed AS `link_sale_hk`, `sale_hk`, `customer_hk`, `hash_diff`
  ),
  source AS (
    -- and that an event is gone from the combination that it was before
    SELECT `link_sale_hk`, `sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, there, FALSE AS moved, FALSE AS stored FROM said WHERE is_new
    UNION ALL
    SELECT former_key, `sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`, FALSE, TRUE, FALSE FROM said WHERE is_new AND NOT (former_key <=> `link_sale_hk`) AND former_key IS NOT NULL
  ),
  versions AS (
    -- each event as told now, and as told before
    SELECT `link_sale_hk`, load_datetime, there, moved, stored, struct(`sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `applied_datetime`, `record_source`, `row_audit_id`) AS event FROM source
    UNION ALL
    SELECT `link_sale_hk`, load_datetime, bool_or(NOT reversal_flag), FALSE, TRUE, max_by(struct(`sale_hk`, `customer_hk`, `Amount`, `hash_diff`, `applied_datetime`, `record_source`, `row_audit_id`), NOT reversal_flag)
    FROM `vault`.`link_sale`
    WHERE `link_sale_hk` IN (SELECT `link_sale_hk` FROM source)
    GROUP BY `link_sale_hk`, load_datetime
  ),
  sequenced AS (
    SELECT *, lag(struct(there, event, stored, load_datetime)) OVER (
      PARTITION BY `link_sale_hk` ORDER BY load_datetime, stored DESC, event.hash_diff
    ) AS predecessor
    FROM versions
  ),
  judged AS (
    -- told as before, told otherwise, or taken back
    SELECT
      *,
      coalesce(predecessor.there, FALSE) AS known,
      there = coalesce(predecessor.there, FALSE) AND (NOT there OR event.hash_diff = predecessor.event.hash_diff) AS same
    FROM sequenced
    WHERE NOT stored
  )
  SELECT
    `link_sale_hk`,
    CASE WHEN reversal_flag THEN predecessor.event.`sale_hk` ELSE event.`sale_hk` END AS `sale_hk`,
    CASE WHEN reversal_flag THEN predecessor.event.`customer_hk` ELSE event.`customer_hk` END AS `customer_hk`,
    CASE WHEN reversal_flag THEN -predecessor.event.`Amount` ELSE event.`Amount` END AS `Amount`,
    CASE WHEN reversal_flag THEN predecessor.event.`hash_diff` ELSE event.`hash_diff` END AS `hash_diff`,
    event.`applied_datetime`,
    `load_datetime`,
    event.`record_source`,
    event.`row_audit_id`,
    reversal_flag,
    moved OR there AND known AND NOT same AS corrected,
    CASE
      WHEN `link_sale_hk` IS NULL THEN 'excluded'
      WHEN NOT same THEN 'inserted'
      WHEN predecessor.load_datetime = load_datetime AND NOT predecessor.stored THEN 'duplicate'
      ELSE 'unchanged'
    END AS outcome
  FROM judged
  LATERAL VIEW explode(CASE
    WHEN `link_sale_hk` IS NULL OR same OR NOT known THEN array(FALSE)
    WHEN there THEN array(TRUE, FALSE)
    ELSE array(TRUE)
  END) written AS reversal_flag
)
WHERE outcome = 'inserted';
