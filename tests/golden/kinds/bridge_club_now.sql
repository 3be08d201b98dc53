CREATE TABLE IF NOT EXISTS `vault`.`bridge_club_now` (
  `customer_hk` BINARY NOT NULL,
  `customer_id` INT,
  `link_membership_hk` BINARY NOT NULL,
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that wrote the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100');

MERGE INTO `vault`.`bridge_club_now` AS target
USING (
  WITH step_1 AS (
    -- the combinations of link_membership, and from when to when sat_membership says that they held
    SELECT links.`link_membership_hk` AS link_key, links.`customer_hk` AS came_from, links.`club_hk` AS goes_to, greatest(states.held_from, links.load_datetime) AS held_from, states.next_state AS held_to
    FROM `vault`.`link_membership` AS links
    JOIN (
      SELECT *, load_datetime AS held_from, lead(load_datetime) OVER (PARTITION BY `link_membership_hk` ORDER BY load_datetime) AS next_state
      FROM `vault`.`sat_membership`
    ) AS states ON states.`link_membership_hk` = links.`link_membership_hk` AND states.active_flag
  ),
  wanted AS (
    SELECT TIMESTAMP '9999-12-31' AS snapshot_datetime
  ),
  pointed AS (
    -- the paths through the chain that hold at each snapshot
    SELECT DISTINCT
      parent.`customer_hk`,
      parent.`customer_id`,
      step_1.link_key AS `link_membership_hk`
    FROM wanted
    JOIN `vault`.`hub_customer` AS parent ON parent.load_datetime <= wanted.snapshot_datetime
    JOIN step_1 ON step_1.came_from = parent.`customer_hk` AND step_1.held_from <= wanted.snapshot_datetime AND (step_1.held_to IS NULL OR step_1.held_to > wanted.snapshot_datetime)
  )
  SELECT
    coalesce(pointed.`customer_hk`, target.`customer_hk`) AS `customer_hk`,
    pointed.`customer_id`,
    coalesce(pointed.`link_membership_hk`, target.`link_membership_hk`) AS `link_membership_hk`,
    CASE
      WHEN target.`customer_hk` IS NULL THEN 'inserted'
      WHEN pointed.`customer_hk` IS NULL THEN 'removed'
      WHEN pointed.`customer_id` <=> target.`customer_id` THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM pointed
  FULL OUTER JOIN (SELECT * FROM `vault`.`bridge_club_now` WHERE TRUE) AS target ON pointed.`customer_hk` = target.`customer_hk` AND pointed.`link_membership_hk` = target.`link_membership_hk`
) AS changes
ON target.`customer_hk` = changes.`customer_hk` AND target.`link_membership_hk` = changes.`link_membership_hk`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN MATCHED AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN UPDATE SET `customer_id` = changes.`customer_id`
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`customer_hk`, `customer_id`, `link_membership_hk`) VALUES (changes.`customer_hk`, changes.`customer_id`, changes.`link_membership_hk`);
