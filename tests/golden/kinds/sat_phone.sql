CREATE TABLE IF NOT EXISTS `vault`.`sat_phone` (
  `customer_hk` BINARY NOT NULL COMMENT 'Hash key of hub_customer',
  `PhoneType` STRING COMMENT 'Multi-active key',
  `Number` STRING,
  `hash_diff` BINARY NOT NULL COMMENT 'Hash of the row\'s columns',
  `deleted_flag` BOOLEAN NOT NULL COMMENT 'Whether the parent lost its last row here',
  `applied_datetime` TIMESTAMP COMMENT 'The business\'s own time of the change (UTC)',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'When the run that staged the row began (UTC)',
  `record_source` STRING NOT NULL COMMENT 'Where the row comes from',
  `row_audit_id` BIGINT COMMENT 'The run that staged the row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that added the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

INSERT INTO `vault`.`sat_phone` (`customer_hk`, `PhoneType`, `Number`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `customer_hk`, `PhoneType`, `Number`, `hash_diff`, `deleted_flag`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
FROM (
  WITH touched AS (
    -- the groups that this load's rows belong to
    SELECT DISTINCT coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-') AS group_text FROM `persistent_stage`.`crm_phone` WHERE load_position > :from_position
  ),
  told AS (
    -- all that the log says of these groups
    SELECT * FROM `persistent_stage`.`crm_phone` WHERE coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-') IN (SELECT group_text FROM touched)
  ),
  held AS (
    -- each version of a row, and until when it held
    SELECT
      `group_key`, `hash_diff`, `PhoneType`, `Number`,
      load_datetime, applied_datetime, record_source, row_audit_id, change_type,
      load_position > :from_position AS is_new,
      lead(load_datetime) OVER (PARTITION BY `CustomerID`, `PhoneType` ORDER BY load_datetime) AS held_until,
      lag(group_key) OVER (PARTITION BY `CustomerID`, `PhoneType` ORDER BY load_datetime) AS group_before
    FROM told
    LATERAL VIEW inline(array(struct(
      CASE WHEN NOT (`CustomerID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'))) END,
      unhex(md5(concat(coalesce(concat(char_length(`PhoneType`), ':', `PhoneType`), '-'), coalesce(concat(char_length(`Number`), ':', `Number`), '-'))))
    ))) hashed AS `group_key`, `hash_diff`
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
      held.`hash_diff`, held.`PhoneType`, held.`Number`,
      held.held_until <=> moments.load_datetime AS gone
    FROM moments
    JOIN held
      ON held.group_key = moments.group_key
      AND held.load_datetime <= moments.load_datetime
      AND (held.held_until IS NULL OR held.held_until >= moments.load_datetime)
    WHERE held.change_type <> 'D'
  ),
  source AS (
    -- what to compare: the live rows of each set, or those that went where none is left; and rows without a parent
    SELECT *, row_number() OVER (PARTITION BY `customer_hk`, `load_datetime`, `hash_diff` ORDER BY row_audit_id) AS occurrence
    FROM (
      SELECT
        group_key AS `customer_hk`, `hash_diff`, `PhoneType`, `Number`, gone AS deleted_flag, applied_datetime, load_datetime, record_source, row_audit_id,
        bool_or(NOT gone) OVER (PARTITION BY group_key, load_datetime) AS lives
      FROM sets
      UNION ALL
      SELECT group_key, `hash_diff`, `PhoneType`, `Number`, FALSE, applied_datetime, load_datetime, record_source, row_audit_id, TRUE
      FROM held
      WHERE is_new AND group_key IS NULL
    )
    WHERE lives <> deleted_flag
  ),
  marks AS (
    -- each set as one value, delivered and stored
    SELECT `customer_hk`, load_datetime, stored, array_sort(collect_set(CASE WHEN NOT deleted_flag THEN `hash_diff` END)) AS set_mark
    FROM (
      SELECT `customer_hk`, load_datetime, FALSE AS stored, deleted_flag, `hash_diff` FROM source
      UNION ALL
      SELECT `customer_hk`, load_datetime, TRUE AS stored, deleted_flag, `hash_diff` FROM `vault`.`sat_phone`
      WHERE `customer_hk` IN (SELECT `customer_hk` FROM source)
    )
    GROUP BY `customer_hk`, load_datetime, stored
  ),
  compared AS (
    -- each set beside the one before it
    SELECT *, set_mark = coalesce(lag(set_mark) OVER (PARTITION BY `customer_hk` ORDER BY load_datetime, stored DESC), slice(set_mark, 1, 0)) AS unchanged
    FROM marks
  )
  SELECT
    source.`customer_hk`,
    source.`PhoneType`,
    source.`Number`,
    source.`hash_diff`,
    source.`deleted_flag`,
    source.`applied_datetime`,
    source.`load_datetime`,
    source.`record_source`,
    source.`row_audit_id`,
    CASE
      WHEN source.`customer_hk` IS NULL THEN 'excluded'
      WHEN source.occurrence > 1 THEN 'duplicate'
      WHEN compared.unchanged THEN 'unchanged'
      ELSE 'inserted'
    END AS outcome
  FROM source
  LEFT JOIN compared
    ON compared.`customer_hk` = source.`customer_hk` AND compared.`load_datetime` = source.`load_datetime` AND NOT compared.stored
)
WHERE outcome = 'inserted';
