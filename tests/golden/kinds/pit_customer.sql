CREATE TABLE IF NOT EXISTS `vault`.`pit_customer` (
  `customer_hk` BINARY NOT NULL,
  `snapshot_datetime` TIMESTAMP NOT NULL COMMENT 'The moment of the snapshot; of a calendar\'s, the midnight after the day (UTC)',
  `sat_phone_hk` BINARY NOT NULL,
  `sat_phone_load_datetime` TIMESTAMP NOT NULL,
  `sat_customer_status_hk` BINARY NOT NULL,
  `sat_customer_status_load_datetime` TIMESTAMP NOT NULL,
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that wrote the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

MERGE INTO `vault`.`pit_customer` AS target
USING (
  WITH touched AS (
    -- the keys that new rows concern
    SELECT `customer_hk` FROM `vault`.`hub_customer` WHERE load_position > :from_position
    UNION
    SELECT `customer_hk` FROM `vault`.`sat_phone` WHERE load_position > :from_position
    UNION
    SELECT `customer_hk` FROM `vault`.`sat_customer_status` WHERE load_position > :from_position
  ),
  known AS (
    SELECT DISTINCT snapshot_datetime FROM `vault`.`pit_customer`
  ),
  calendar AS (
    -- the snapshots to keep, and whether the table lacks them
    SELECT days.snapshot_datetime, known.snapshot_datetime IS NULL AS is_new
    FROM (
      SELECT newest, explode(sequence(timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first))), newest, INTERVAL 1 DAY)) AS snapshot_datetime
      FROM (SELECT min(first) AS first, max(newest) AS newest FROM (
      SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`hub_customer`
      UNION ALL SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`sat_phone`
      UNION ALL SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`sat_customer_status`))
      WHERE timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first))) <= newest
    ) AS days
    LEFT JOIN known ON known.snapshot_datetime = days.snapshot_datetime
    WHERE (datediff(date_trunc('DAY', newest), days.snapshot_datetime) < 30) OR (day(days.snapshot_datetime) = 1 AND months_between(trunc(date_trunc('DAY', newest), 'MM'), days.snapshot_datetime) < 24)
  ),
  gone AS (
    -- the snapshots that the calendar no longer keeps
    SELECT snapshot_datetime FROM known LEFT ANTI JOIN calendar USING (snapshot_datetime)
  ),
  versions AS (
    -- every version of every satellite, and until when it was the last; the key itself as arm 0
    SELECT `customer_hk`, 0 AS arm, load_datetime AS version, CAST(NULL AS TIMESTAMP) AS until FROM `vault`.`hub_customer`
    UNION ALL
    SELECT `customer_hk`, 1, load_datetime, lead(load_datetime) OVER (PARTITION BY `customer_hk` ORDER BY load_datetime) FROM (SELECT DISTINCT `customer_hk`, load_datetime FROM `vault`.`sat_phone`)
    UNION ALL
    SELECT `customer_hk`, 2, load_datetime, lead(load_datetime) OVER (PARTITION BY `customer_hk` ORDER BY load_datetime) FROM (SELECT DISTINCT `customer_hk`, load_datetime FROM `vault`.`sat_customer_status`)
  ),
  wanted AS (
    -- all keys at new snapshots, touched keys at all of them
    SELECT `customer_hk`, snapshot_datetime,
      max(version) FILTER (WHERE arm = 1) AS version_1,
      max(version) FILTER (WHERE arm = 2) AS version_2
    FROM versions
    JOIN calendar ON calendar.snapshot_datetime >= versions.version AND (versions.until IS NULL OR calendar.snapshot_datetime < versions.until)
    WHERE calendar.is_new OR `customer_hk` IN (SELECT `customer_hk` FROM touched)
    GROUP BY `customer_hk`, snapshot_datetime
    HAVING bool_or(arm = 0)
  ),
  pointed AS (
    SELECT
      `customer_hk`,
      snapshot_datetime,
      CASE WHEN version_1 IS NULL THEN unhex('00000000000000000000000000000000') ELSE `customer_hk` END AS `sat_phone_hk`,
      coalesce(version_1, TIMESTAMP '1900-01-01') AS `sat_phone_load_datetime`,
      CASE WHEN version_2 IS NULL THEN unhex('00000000000000000000000000000000') ELSE `customer_hk` END AS `sat_customer_status_hk`,
      coalesce(version_2, TIMESTAMP '1900-01-01') AS `sat_customer_status_load_datetime`
    FROM wanted
  )
  SELECT
    coalesce(pointed.`customer_hk`, target.`customer_hk`) AS `customer_hk`,
    coalesce(pointed.`snapshot_datetime`, target.`snapshot_datetime`) AS `snapshot_datetime`,
    pointed.`sat_phone_hk`,
    pointed.`sat_phone_load_datetime`,
    pointed.`sat_customer_status_hk`,
    pointed.`sat_customer_status_load_datetime`,
    CASE
      WHEN target.`customer_hk` IS NULL THEN 'inserted'
      WHEN pointed.`customer_hk` IS NULL THEN 'removed'
      WHEN pointed.`sat_phone_hk` <=> target.`sat_phone_hk` AND pointed.`sat_phone_load_datetime` <=> target.`sat_phone_load_datetime` AND pointed.`sat_customer_status_hk` <=> target.`sat_customer_status_hk` AND pointed.`sat_customer_status_load_datetime` <=> target.`sat_customer_status_load_datetime` THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM pointed
  FULL OUTER JOIN (SELECT * FROM `vault`.`pit_customer` WHERE `customer_hk` IN (SELECT `customer_hk` FROM touched) OR snapshot_datetime IN (SELECT snapshot_datetime FROM gone)) AS target ON pointed.`customer_hk` = target.`customer_hk` AND pointed.`snapshot_datetime` = target.`snapshot_datetime`
) AS changes
ON target.`customer_hk` = changes.`customer_hk` AND target.`snapshot_datetime` = changes.`snapshot_datetime`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN MATCHED AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN UPDATE SET `sat_phone_hk` = changes.`sat_phone_hk`, `sat_phone_load_datetime` = changes.`sat_phone_load_datetime`, `sat_customer_status_hk` = changes.`sat_customer_status_hk`, `sat_customer_status_load_datetime` = changes.`sat_customer_status_load_datetime`
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`customer_hk`, `snapshot_datetime`, `sat_phone_hk`, `sat_phone_load_datetime`, `sat_customer_status_hk`, `sat_customer_status_load_datetime`) VALUES (changes.`customer_hk`, changes.`snapshot_datetime`, changes.`sat_phone_hk`, changes.`sat_phone_load_datetime`, changes.`sat_customer_status_hk`, changes.`sat_customer_status_load_datetime`);
