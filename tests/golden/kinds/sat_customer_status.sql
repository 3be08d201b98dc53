CREATE TABLE IF NOT EXISTS `vault`.`sat_customer_status` (
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `status` STRING NOT NULL COMMENT 'I: there (again), U: changed, D: gone',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the change (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_customer_status` (`customer_hk`, `status`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_hk`, `status`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH touched AS (
    -- the groups that this load's rows belong to
    SELECT DISTINCT coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-') AS group_text FROM `persistent_stage`.`crm_customer` WHERE load_position > :from_position
  ),
  told AS (
    -- all that the log says of these groups
    SELECT * FROM `persistent_stage`.`crm_customer` WHERE coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-') IN (SELECT group_text FROM touched)
  ),
  held AS (
    -- each version of a row, and until when it held
    SELECT
      `group_key`,
      load_datetime, applied_datetime, record_source, row_audit_id, change_type,
      load_position > :from_position AS is_new,
      lead(load_datetime) OVER (PARTITION BY `CustomerID` ORDER BY load_datetime) AS held_until,
      lag(group_key) OVER (PARTITION BY `CustomerID` ORDER BY load_datetime) AS group_before
    FROM told
    LATERAL VIEW inline(array(struct(
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END
    ))) hashed AS `group_key`
  ),
  moments AS (
    -- when a group changed
    SELECT group_key AS group_key, load_datetime, max(applied_datetime) AS applied_datetime, max(row_audit_id) AS row_audit_id, max(record_source) AS record_source
    FROM held
    WHERE is_new AND group_key IS NOT NULL
    GROUP BY group_key, load_datetime
  ),
  sets AS (
    -- the rows of each group at these moments
    SELECT
      moments.group_key, moments.load_datetime, moments.applied_datetime, moments.record_source, moments.row_audit_id,
    
      held.held_until <=> moments.load_datetime AS gone
    FROM moments
    JOIN held
      ON held.group_key = moments.group_key
      AND held.load_datetime <= moments.load_datetime
      AND (held.held_until IS NULL OR held.held_until >= moments.load_datetime)
    WHERE held.change_type <> 'D'
  ),
  states AS (
    -- whether each key is there at each moment
    SELECT group_key AS `customer_hk`, bool_or(NOT gone) AS there, FALSE AS stored, load_datetime,
      max(applied_datetime) AS applied_datetime, max(record_source) AS record_source, max(row_audit_id) AS row_audit_id
    FROM sets
    GROUP BY group_key, load_datetime
  ),
  versions AS (
    SELECT * FROM states
    UNION ALL
    SELECT `customer_hk`, status <> 'D', TRUE, load_datetime, NULL, NULL, NULL
    FROM `vault`.`sat_customer_status`
    WHERE `customer_hk` IN (SELECT `customer_hk` FROM states)
  ),
  sequenced AS (
    -- each state beside the one before it
    SELECT
      *,
      lag(there) OVER earlier AS was_there,
      lag(stored) OVER earlier AND lag(load_datetime) OVER earlier = load_datetime AS known
    FROM versions
    WINDOW earlier AS (PARTITION BY `customer_hk` ORDER BY load_datetime, stored DESC)
  )
  SELECT
    `customer_hk`,
    CASE WHEN NOT there THEN 'D' WHEN was_there THEN 'U' ELSE 'I' END AS `status`,
    `applied_datetime`,
    `load_datetime`,
    `record_source`,
    `row_audit_id`,
    CASE WHEN known OR (NOT there AND NOT coalesce(was_there, FALSE)) THEN 'unchanged' ELSE 'inserted' END AS outcome
  FROM sequenced
  WHERE NOT stored
)
WHERE outcome = 'inserted';
