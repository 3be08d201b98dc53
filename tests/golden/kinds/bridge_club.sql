CREATE TABLE IF NOT EXISTS `vault`.`bridge_club` (
  `customer_hk` BINARY NOT NULL,
  `snapshot_datetime` TIMESTAMP NOT NULL COMMENT 'The moment of the snapshot; of a calendar\'s, the midnight after the day (UTC)',
  `link_membership_hk` BINARY NOT NULL,
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that wrote the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

MERGE INTO `vault`.`bridge_club` AS target
USING (
  WITH known AS (
    SELECT DISTINCT snapshot_datetime FROM `vault`.`bridge_club`
  ),
  calendar AS (
    -- the snapshots to keep, and whether the table lacks them
    SELECT days.snapshot_datetime, known.snapshot_datetime IS NULL AS is_new
    FROM (
      SELECT newest, explode(sequence(timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first))), newest, INTERVAL 1 DAY)) AS snapshot_datetime
      FROM (SELECT min(first) AS first, max(newest) AS newest FROM (
      SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`hub_customer`
      UNION ALL SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`link_membership`
      UNION ALL SELECT min(load_datetime) AS first, max(load_datetime) AS newest FROM `vault`.`sat_membership`))
      WHERE timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first))) <= newest
    ) AS days
    LEFT JOIN known ON known.snapshot_datetime = days.snapshot_datetime
    WHERE (datediff(date_trunc('DAY', newest), days.snapshot_datetime) < 30)
  ),
  gone AS (
    -- the snapshots that the calendar no longer keeps
    SELECT snapshot_datetime FROM known LEFT ANTI JOIN calendar USING (snapshot_datetime)
  ),
  wanted AS (
    -- new snapshots, and those that new rows may change
    SELECT snapshot_datetime
    FROM calendar
    CROSS JOIN (SELECT min(oldest) AS oldest FROM (
      SELECT min(load_datetime) AS oldest FROM `vault`.`hub_customer` WHERE load_position > :from_position
      UNION ALL SELECT min(load_datetime) AS oldest FROM `vault`.`link_membership` WHERE load_position > :from_position
      UNION ALL SELECT min(load_datetime) AS oldest FROM `vault`.`sat_membership` WHERE load_position > :from_position))
    WHERE is_new OR snapshot_datetime >= oldest
  ),
  step_1 AS (
    -- the combinations of link_membership, and from when to when sat_membership says that they held
    SELECT links.`link_membership_hk` AS link_key, links.`customer_hk` AS came_from, links.`club_hk` AS goes_to, greatest(states.held_from, links.load_datetime) AS held_from, least(states.next_state, states.ends_at) AS held_to
    FROM `vault`.`link_membership` AS links
    JOIN (
      SELECT *, load_datetime AS held_from, lead(load_datetime) OVER (PARTITION BY `link_membership_hk` ORDER BY load_datetime) AS next_state
      FROM `vault`.`sat_membership`
    ) AS states ON states.`link_membership_hk` = links.`link_membership_hk` AND states.active_flag
  ),
  pointed AS (
    -- the paths through the chain that hold at each snapshot
    SELECT DISTINCT
      parent.`customer_hk`,
      wanted.snapshot_datetime AS `snapshot_datetime`,
      step_1.link_key AS `link_membership_hk`
    FROM wanted
    JOIN `vault`.`hub_customer` AS parent ON parent.load_datetime <= wanted.snapshot_datetime
    JOIN step_1 ON step_1.came_from = parent.`customer_hk` AND step_1.held_from <= wanted.snapshot_datetime AND (step_1.held_to IS NULL OR step_1.held_to > wanted.snapshot_datetime)
  )
  SELECT
    coalesce(pointed.`customer_hk`, target.`customer_hk`) AS `customer_hk`,
    coalesce(pointed.`snapshot_datetime`, target.`snapshot_datetime`) AS `snapshot_datetime`,
    coalesce(pointed.`link_membership_hk`, target.`link_membership_hk`) AS `link_membership_hk`,
    CASE
      WHEN target.`customer_hk` IS NULL THEN 'inserted'
      WHEN pointed.`customer_hk` IS NULL THEN 'removed'
      WHEN TRUE THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM pointed
  FULL OUTER JOIN (SELECT * FROM `vault`.`bridge_club` WHERE snapshot_datetime IN (SELECT snapshot_datetime FROM wanted UNION ALL SELECT snapshot_datetime FROM gone)) AS target ON pointed.`customer_hk` = target.`customer_hk` AND pointed.`snapshot_datetime` = target.`snapshot_datetime` AND pointed.`link_membership_hk` = target.`link_membership_hk`
) AS changes
ON target.`customer_hk` = changes.`customer_hk` AND target.`snapshot_datetime` = changes.`snapshot_datetime` AND target.`link_membership_hk` = changes.`link_membership_hk`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`customer_hk`, `snapshot_datetime`, `link_membership_hk`) VALUES (changes.`customer_hk`, changes.`snapshot_datetime`, changes.`link_membership_hk`);
