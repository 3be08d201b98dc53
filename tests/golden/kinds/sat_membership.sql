CREATE TABLE IF NOT EXISTS `vault`.`sat_membership` (
  `link_membership_hk` BINARY NOT NULL COMMENT 'Hash key of link_membership',
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

INSERT INTO `vault`.`sat_membership` (`link_membership_hk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`)
SELECT `link_membership_hk`, `active_flag`, `starts_at`, `ends_at`, `applied_datetime`, `load_datetime`, `record_source`, `row_audit_id`
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
      `group_key`, `link_membership_hk`, `own_start`, `own_end`,
      load_datetime, applied_datetime, record_source, row_audit_id, change_type,
      load_position > :from_position AS is_new,
      lead(load_datetime) OVER (PARTITION BY `CustomerID` ORDER BY load_datetime) AS held_until,
      lag(group_key) OVER (PARTITION BY `CustomerID` ORDER BY load_datetime) AS group_before
    FROM told
    LATERAL VIEW inline(array(struct(
      CASE WHEN NOT (`CustomerID` IS NULL) THEN coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-') END,
      unhex(md5(concat(coalesce(concat(char_length(CAST(`CustomerID` AS STRING)), ':', CAST(`CustomerID` AS STRING)), '-'), coalesce(concat(char_length(upper(trim(`Club`))), ':', upper(trim(`Club`))), '-')))),
      CAST(`MemberSince` AS TIMESTAMP),
      CAST(`MemberUntil` AS TIMESTAMP)
    ))) hashed AS `group_key`, `link_membership_hk`, `own_start`, `own_end`
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
      held.`link_membership_hk`, held.`own_start`, held.`own_end`,
      held.held_until <=> moments.load_datetime AS gone
    FROM moments
    JOIN held
      ON held.group_key = moments.group_key
      AND held.load_datetime <= moments.load_datetime
      AND (held.held_until IS NULL OR held.held_until >= moments.load_datetime)
    WHERE held.change_type <> 'D'
  ),
  states AS (
    -- which combinations of each driving key hold at each moment, and which just went
    SELECT
      `link_membership_hk`, bool_or(NOT gone) AS active_flag, FALSE AS stored,
      min(own_start) FILTER (WHERE NOT gone) AS own_start,
      max(coalesce(own_end, TIMESTAMP '9999-12-31')) FILTER (WHERE NOT gone) AS ends_at,
      max(applied_datetime) AS applied_datetime, max(record_source) AS record_source, max(row_audit_id) AS row_audit_id,
      load_datetime
    FROM sets
    WHERE NOT (`link_membership_hk` IS NULL)
    GROUP BY group_key, load_datetime, `link_membership_hk`
  ),
  versions AS (
    SELECT *, CAST(NULL AS TIMESTAMP) AS starts_at FROM states
    UNION ALL
    SELECT
      `link_membership_hk`, active_flag, TRUE, NULL, ends_at, applied_datetime, record_source, row_audit_id, load_datetime, starts_at
    FROM `vault`.`sat_membership`
    WHERE `link_membership_hk` IN (SELECT `link_membership_hk` FROM states)
  ),
  sequenced AS (
    -- each state beside the one before it
    SELECT *, lag(struct(active_flag, ends_at)) OVER (PARTITION BY `link_membership_hk` ORDER BY load_datetime, stored DESC) AS predecessor
    FROM versions
  ),
  opened AS (
    -- and the start of the opening that it belongs to
    SELECT
      * EXCEPT (starts_at),
      last_value(CASE
        WHEN stored THEN starts_at
        WHEN active_flag AND NOT coalesce(predecessor.active_flag, FALSE) THEN coalesce(own_start, applied_datetime)
      END) IGNORE NULLS OVER (PARTITION BY `link_membership_hk` ORDER BY load_datetime, stored DESC) AS starts_at
    FROM sequenced
  )
  SELECT
    `link_membership_hk`,
    `active_flag`,
    `starts_at`,
    CASE WHEN active_flag THEN ends_at ELSE applied_datetime END AS `ends_at`,
    `applied_datetime`,
    `load_datetime`,
    `record_source`,
    `row_audit_id`,
    CASE
      WHEN active_flag = coalesce(predecessor.active_flag, FALSE)
        AND (NOT active_flag OR ends_at <=> predecessor.ends_at) THEN 'unchanged'
      ELSE 'inserted'
    END AS outcome
  FROM opened
  WHERE NOT stored
)
WHERE outcome = 'inserted';
