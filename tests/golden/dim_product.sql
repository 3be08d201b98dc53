CREATE TABLE IF NOT EXISTS `mart`.`dim_product` (
  `product_key` BIGINT NOT NULL COMMENT 'Surrogate key; -1 is the unknown member',
  `product_id` INT COMMENT 'Business key',
  `product_name` STRING,
  `product_number` STRING,
  `color` STRING,
  `size` STRING,
  `list_price` DECIMAL(19,4),
  `standard_cost` DECIMAL(19,4),
  `category` STRING,
  `top_category` /* as its expression */,
  `model` STRING,
  `effective_from` TIMESTAMP NOT NULL COMMENT 'From when the version holds, inclusive (UTC)',
  `effective_to` TIMESTAMP COMMENT 'Until when it holds, exclusive (UTC)',
  `current_flag` BOOLEAN NOT NULL COMMENT 'Whether the version holds still',
  `version_number` INT NOT NULL COMMENT '1 for a member\'s first version',
  `member_hk` BINARY NOT NULL COMMENT 'Hash key of hub_product: the durable key',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'Load date-time of the newest row it was made from (UTC)',
  `row_audit_id` BIGINT COMMENT 'The run that staged that row',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that wrote the row'
)
USING DELTA
TBLPROPERTIES ('delta.checkpointInterval' = '100', 'delta.enableDeletionVectors' = 'false');

MERGE INTO `mart`.`dim_product` AS target
USING (
  WITH touched_model AS (
    -- changed partners of join model
    SELECT `product_model_hk` AS member_hk FROM `vault`.`sat_product_model` WHERE load_position > :from_position
  ),
  touched_top_category AS (
    -- changed partners of join top_category
    SELECT `product_category_hk` AS member_hk FROM `vault`.`sat_product_category` WHERE load_position > :from_position
  ),
  touched_category AS (
    -- changed partners of join category
    SELECT `product_category_hk` AS member_hk FROM `vault`.`sat_product_category` WHERE load_position > :from_position
    UNION SELECT `product_category_hk` FROM `vault`.`sat_product_category`
      WHERE CASE WHEN NOT (`ParentProductCategoryID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`ParentProductCategoryID` AS STRING)), ':', CAST(`ParentProductCategoryID` AS STRING)), '-'))) END IN (SELECT member_hk FROM touched_top_category)
  ),
  touched AS (
    -- the members that new rows concern
    SELECT `product_hk` AS member_hk FROM `vault`.`sat_product` WHERE load_position > :from_position
    UNION SELECT `product_hk` AS member_hk FROM `vault`.`hub_product` WHERE load_position > :from_position
    UNION SELECT `product_hk` FROM `vault`.`sat_product`
      WHERE CASE WHEN NOT (`ProductCategoryID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`ProductCategoryID` AS STRING)), ':', CAST(`ProductCategoryID` AS STRING)), '-'))) END IN (SELECT member_hk FROM touched_category)
    UNION SELECT `product_hk` FROM `vault`.`sat_product`
      WHERE CASE WHEN NOT (`ProductModelID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`ProductModelID` AS STRING)), ':', CAST(`ProductModelID` AS STRING)), '-'))) END IN (SELECT member_hk FROM touched_model)
    UNION SELECT unhex('00000000000000000000000000000000') AS member_hk
  ),
  member_events AS (
    -- what each satellite says, at its own time
    SELECT `product_hk` AS member_hk, applied_datetime AS valid_from, load_datetime, row_audit_id,
      load_position > :from_position AS new_event, 0 AS arm, `sat_product`
    FROM `vault`.`sat_product`
    LATERAL VIEW inline(array(struct(
      struct(`Name`, `ProductNumber`, `Color`, `StandardCost`, `ListPrice`, `Size`, `ProductCategoryID`, `ProductModelID`, deleted_flag)
    ))) said AS `sat_product`
    WHERE `product_hk` IN (SELECT member_hk FROM touched)
  ),
  member_states AS (
    -- the whole member at each of these times, and until when it stayed so
    SELECT *, lead(valid_from) OVER (PARTITION BY member_hk ORDER BY valid_from) AS valid_to, coalesce(`sat_product`.deleted_flag, TRUE) AS deleted
    FROM (
      SELECT
        member_hk, valid_from, load_datetime, row_audit_id, last_value(`sat_product`) IGNORE NULLS OVER earlier AS `sat_product`,
        max(new_event) OVER (PARTITION BY member_hk, valid_from) AS new_event,
        row_number() OVER (PARTITION BY member_hk, valid_from ORDER BY load_datetime DESC, arm DESC) AS age
      FROM member_events
      WINDOW earlier AS (
        PARTITION BY member_hk ORDER BY valid_from, load_datetime, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    )
    WHERE age = 1
  ),
  category_events AS (
    -- what each satellite says, at its own time
    SELECT `product_category_hk` AS member_hk, applied_datetime AS valid_from, load_datetime, row_audit_id,
      load_position > :from_position AS new_event, 0 AS arm, `category_sat_product_category`
    FROM `vault`.`sat_product_category`
    LATERAL VIEW inline(array(struct(
      struct(`Name`, `ParentProductCategoryID`, deleted_flag)
    ))) said AS `category_sat_product_category`
  ),
  category_states AS (
    -- the whole member at each of these times, and until when it stayed so
    SELECT *, lead(valid_from) OVER (PARTITION BY member_hk ORDER BY valid_from) AS valid_to, coalesce(`category_sat_product_category`.deleted_flag, TRUE) AS deleted
    FROM (
      SELECT
        member_hk, valid_from, load_datetime, row_audit_id, last_value(`category_sat_product_category`) IGNORE NULLS OVER earlier AS `category_sat_product_category`,
        max(new_event) OVER (PARTITION BY member_hk, valid_from) AS new_event,
        row_number() OVER (PARTITION BY member_hk, valid_from ORDER BY load_datetime DESC, arm DESC) AS age
      FROM category_events
      WINDOW earlier AS (
        PARTITION BY member_hk ORDER BY valid_from, load_datetime, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    )
    WHERE age = 1
  ),
  with_category AS (
    -- the member's ranges, cut where join category changed
    SELECT
      states.member_hk, states.`sat_product`, partner.`category_sat_product_category`,
      greatest(states.valid_from, partner.known_from) AS valid_from,
      least(states.valid_to, partner.valid_to) AS valid_to,
      CASE WHEN partner.known_from > states.valid_from THEN partner.new_event ELSE states.new_event END AS new_event,
      states.deleted, greatest(states.load_datetime, partner.load_datetime) AS load_datetime,
      CASE WHEN partner.load_datetime > states.load_datetime THEN partner.row_audit_id ELSE states.row_audit_id END AS row_audit_id
    FROM member_states AS states
    LEFT JOIN (
      SELECT *, CASE WHEN row_number() OVER (PARTITION BY member_hk ORDER BY valid_from) = 1
        THEN TIMESTAMP '1900-01-01' ELSE valid_from END AS known_from
      FROM category_states
    ) AS partner
      ON partner.member_hk = CASE WHEN NOT (`sat_product`.`ProductCategoryID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`sat_product`.`ProductCategoryID` AS STRING)), ':', CAST(`sat_product`.`ProductCategoryID` AS STRING)), '-'))) END
      AND partner.known_from < coalesce(states.valid_to, TIMESTAMP '9999-12-31')
      AND states.valid_from < coalesce(partner.valid_to, TIMESTAMP '9999-12-31')
  ),
  top_category_events AS (
    -- what each satellite says, at its own time
    SELECT `product_category_hk` AS member_hk, applied_datetime AS valid_from, load_datetime, row_audit_id,
      load_position > :from_position AS new_event, 0 AS arm, `top_category_sat_product_category`
    FROM `vault`.`sat_product_category`
    LATERAL VIEW inline(array(struct(
      struct(`Name`, deleted_flag)
    ))) said AS `top_category_sat_product_category`
  ),
  top_category_states AS (
    -- the whole member at each of these times, and until when it stayed so
    SELECT *, lead(valid_from) OVER (PARTITION BY member_hk ORDER BY valid_from) AS valid_to, coalesce(`top_category_sat_product_category`.deleted_flag, TRUE) AS deleted
    FROM (
      SELECT
        member_hk, valid_from, load_datetime, row_audit_id, last_value(`top_category_sat_product_category`) IGNORE NULLS OVER earlier AS `top_category_sat_product_category`,
        max(new_event) OVER (PARTITION BY member_hk, valid_from) AS new_event,
        row_number() OVER (PARTITION BY member_hk, valid_from ORDER BY load_datetime DESC, arm DESC) AS age
      FROM top_category_events
      WINDOW earlier AS (
        PARTITION BY member_hk ORDER BY valid_from, load_datetime, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    )
    WHERE age = 1
  ),
  with_top_category AS (
    -- the member's ranges, cut where join top_category changed
    SELECT
      states.member_hk, states.`sat_product`, states.`category_sat_product_category`, partner.`top_category_sat_product_category`,
      greatest(states.valid_from, partner.known_from) AS valid_from,
      least(states.valid_to, partner.valid_to) AS valid_to,
      CASE WHEN partner.known_from > states.valid_from THEN partner.new_event ELSE states.new_event END AS new_event,
      states.deleted, greatest(states.load_datetime, partner.load_datetime) AS load_datetime,
      CASE WHEN partner.load_datetime > states.load_datetime THEN partner.row_audit_id ELSE states.row_audit_id END AS row_audit_id
    FROM with_category AS states
    LEFT JOIN (
      SELECT *, CASE WHEN row_number() OVER (PARTITION BY member_hk ORDER BY valid_from) = 1
        THEN TIMESTAMP '1900-01-01' ELSE valid_from END AS known_from
      FROM top_category_states
    ) AS partner
      ON partner.member_hk = CASE WHEN NOT (`category_sat_product_category`.`ParentProductCategoryID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`category_sat_product_category`.`ParentProductCategoryID` AS STRING)), ':', CAST(`category_sat_product_category`.`ParentProductCategoryID` AS STRING)), '-'))) END
      AND partner.known_from < coalesce(states.valid_to, TIMESTAMP '9999-12-31')
      AND states.valid_from < coalesce(partner.valid_to, TIMESTAMP '9999-12-31')
  ),
  model_events AS (
    -- what each satellite says, at its own time
    SELECT `product_model_hk` AS member_hk, applied_datetime AS valid_from, load_datetime, row_audit_id,
      load_position > :from_position AS new_event, 0 AS arm, `model_sat_product_model`
    FROM `vault`.`sat_product_model`
    LATERAL VIEW inline(array(struct(
      struct(`Name`, deleted_flag)
    ))) said AS `model_sat_product_model`
  ),
  model_states AS (
    -- the whole member at each of these times, and until when it stayed so
    SELECT *, lead(valid_from) OVER (PARTITION BY member_hk ORDER BY valid_from) AS valid_to, coalesce(`model_sat_product_model`.deleted_flag, TRUE) AS deleted
    FROM (
      SELECT
        member_hk, valid_from, load_datetime, row_audit_id, last_value(`model_sat_product_model`) IGNORE NULLS OVER earlier AS `model_sat_product_model`,
        max(new_event) OVER (PARTITION BY member_hk, valid_from) AS new_event,
        row_number() OVER (PARTITION BY member_hk, valid_from ORDER BY load_datetime DESC, arm DESC) AS age
      FROM model_events
      WINDOW earlier AS (
        PARTITION BY member_hk ORDER BY valid_from, load_datetime, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    )
    WHERE age = 1
  ),
  with_model AS (
    -- the member's ranges, cut where join model changed
    SELECT
      states.member_hk, states.`sat_product`, states.`category_sat_product_category`, states.`top_category_sat_product_category`, partner.`model_sat_product_model`,
      greatest(states.valid_from, partner.known_from) AS valid_from,
      least(states.valid_to, partner.valid_to) AS valid_to,
      CASE WHEN partner.known_from > states.valid_from THEN partner.new_event ELSE states.new_event END AS new_event,
      states.deleted, greatest(states.load_datetime, partner.load_datetime) AS load_datetime,
      CASE WHEN partner.load_datetime > states.load_datetime THEN partner.row_audit_id ELSE states.row_audit_id END AS row_audit_id
    FROM with_top_category AS states
    LEFT JOIN (
      SELECT *, CASE WHEN row_number() OVER (PARTITION BY member_hk ORDER BY valid_from) = 1
        THEN TIMESTAMP '1900-01-01' ELSE valid_from END AS known_from
      FROM model_states
    ) AS partner
      ON partner.member_hk = CASE WHEN NOT (`sat_product`.`ProductModelID` IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(`sat_product`.`ProductModelID` AS STRING)), ':', CAST(`sat_product`.`ProductModelID` AS STRING)), '-'))) END
      AND partner.known_from < coalesce(states.valid_to, TIMESTAMP '9999-12-31')
      AND states.valid_from < coalesce(partner.valid_to, TIMESTAMP '9999-12-31')
  ),
  attributes AS (
    -- the columns of each state; type 0 from the first, type 1 from the last
    SELECT
      member_hk, `product_id`, valid_from, new_event, deleted, load_datetime, row_audit_id,
      last_value(`product_name`) OVER history AS `product_name`,
      last_value(`product_number`) OVER history AS `product_number`,
      last_value(`color`) OVER history AS `color`,
      last_value(`size`) OVER history AS `size`,
      `list_price`,
      last_value(`standard_cost`) OVER history AS `standard_cost`,
      `category`,
      `top_category`,
      `model`
    FROM (
      SELECT
        member_hk, `product_id`, valid_from, new_event, deleted, load_datetime, row_audit_id,
        sat_product.Name AS `product_name`,
        ProductNumber AS `product_number`,
        Color AS `color`,
        sat_product.Size AS `size`,
        ListPrice AS `list_price`,
        StandardCost AS `standard_cost`,
        category.Name AS `category`,
        coalesce(top_category.Name, category.Name) AS `top_category`,
        model.Name AS `model`
      FROM (
        SELECT states.*, `product_id`, `sat_product`.`ProductNumber` AS `ProductNumber`, `sat_product`.`Color` AS `Color`, `sat_product`.`StandardCost` AS `StandardCost`, `sat_product`.`ListPrice` AS `ListPrice`, `sat_product`.`Size` AS `Size`, `sat_product`.`ProductCategoryID` AS `ProductCategoryID`, `sat_product`.`ProductModelID` AS `ProductModelID`, struct(`category_sat_product_category`.`Name`, `category_sat_product_category`.`ParentProductCategoryID`) AS `category`, struct(`top_category_sat_product_category`.`Name`) AS `top_category`, struct(`model_sat_product_model`.`Name`) AS `model`, struct(`product_id`) AS `hub_product`
        FROM with_model AS states
        JOIN (SELECT `product_hk` AS hub_hk, `product_id` FROM `vault`.`hub_product`) AS hub ON hub.hub_hk = states.member_hk
      )
    )
    WINDOW history AS (PARTITION BY member_hk ORDER BY valid_from ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
  ),
  numbered AS (
    -- a version begins where the member appears, goes, returns, or a type 2 column differs
    SELECT *, sum(begins) OVER (PARTITION BY member_hk ORDER BY valid_from) AS island
    FROM (
      SELECT *, CASE WHEN lag(struct(deleted, `list_price`, `category`, `top_category`, `model`)) OVER (PARTITION BY member_hk ORDER BY valid_from) <=> struct(deleted, `list_price`, `category`, `top_category`, `model`) THEN 0 ELSE 1 END AS begins
      FROM attributes
    )
  ),
  islands AS (
    SELECT
      *,
      sum(CAST(new_event AS INT)) OVER (PARTITION BY member_hk, island) AS new_events,
      max(load_datetime) OVER (PARTITION BY member_hk, island) AS newest,
      max(row_audit_id) OVER (PARTITION BY member_hk, island) AS newest_run
    FROM numbered
  ),
  versions AS (
    -- one row per version, and one per gap after a delete
    SELECT
      xxhash64(concat(coalesce(concat(char_length(hex(member_hk)), ':', hex(member_hk)), '-'), coalesce(concat(char_length(CASE WHEN valid_from IS NOT NULL THEN to_csv(struct(valid_from), map('timeZone', 'UTC', 'timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')) END), ':', CASE WHEN valid_from IS NOT NULL THEN to_csv(struct(valid_from), map('timeZone', 'UTC', 'timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')) END), '-'))) AS `product_key`, `product_id`, `product_name`, `product_number`, `color`, `size`, `list_price`, `standard_cost`, `category`, `top_category`, `model`,
      valid_from AS effective_from,
      coalesce(lead(valid_from) OVER later, TIMESTAMP '9999-12-31') AS effective_to,
      NOT deleted AND lead(valid_from) OVER later IS NULL AS current_flag,
      CAST(sum(CAST(NOT deleted AS INT)) OVER later AS INT) AS version_number,
      member_hk, newest AS load_datetime, newest_run AS row_audit_id,
      deleted, island, new_events, CAST(new_event AS INT) AS opened
    FROM islands
    WHERE begins = 1
    WINDOW later AS (PARTITION BY member_hk ORDER BY valid_from)
    UNION ALL
    SELECT CAST(-1 AS BIGINT), NULL, 'Unknown', 'Unknown', 'Unknown', 'Unknown', NULL, NULL, 'Unknown', NULL, 'Unknown', TIMESTAMP '1900-01-01', TIMESTAMP '9999-12-31', TRUE, 1, unhex('00000000000000000000000000000000'), TIMESTAMP '1900-01-01', NULL, FALSE, 1, 0, 0
  )
  SELECT
    coalesce(versions.`product_key`, target.`product_key`) AS `product_key`,
    versions.`product_id`,
    versions.`product_name`,
    versions.`product_number`,
    versions.`color`,
    versions.`size`,
    versions.`list_price`,
    versions.`standard_cost`,
    versions.`category`,
    versions.`top_category`,
    versions.`model`,
    coalesce(versions.`effective_from`, target.`effective_from`) AS `effective_from`,
    versions.`effective_to`,
    versions.`current_flag`,
    versions.`version_number`,
    coalesce(versions.`member_hk`, target.`member_hk`) AS `member_hk`,
    versions.`load_datetime`,
    versions.`row_audit_id`,
    coalesce(versions.new_events, 0) AS new_events,
    CASE WHEN target.member_hk IS NULL AND NOT versions.deleted THEN versions.opened ELSE 0 END AS opened,
    CASE
      WHEN versions.deleted THEN CASE WHEN versions.island > 1 THEN 'closed' ELSE 'ignored' END
      WHEN target.member_hk IS NULL THEN 'inserted'
      WHEN versions.member_hk IS NULL THEN 'removed'
      WHEN struct(versions.`product_key`, versions.`product_id`, versions.`product_name`, versions.`product_number`, versions.`color`, versions.`size`, versions.`list_price`, versions.`standard_cost`, versions.`category`, versions.`top_category`, versions.`model`, versions.`effective_to`, versions.`current_flag`, versions.`version_number`) <=> struct(target.`product_key`, target.`product_id`, target.`product_name`, target.`product_number`, target.`color`, target.`size`, target.`list_price`, target.`standard_cost`, target.`category`, target.`top_category`, target.`model`, target.`effective_to`, target.`current_flag`, target.`version_number`) THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM versions
  FULL OUTER JOIN (SELECT * FROM `mart`.`dim_product` WHERE member_hk IN (SELECT member_hk FROM touched)) AS target
    ON versions.member_hk = target.member_hk
    AND versions.effective_from = target.effective_from
    AND NOT versions.deleted
) AS changes
ON target.`member_hk` = changes.`member_hk` AND target.`effective_from` = changes.`effective_from`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN MATCHED AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN UPDATE SET `product_key` = changes.`product_key`, `product_id` = changes.`product_id`, `product_name` = changes.`product_name`, `product_number` = changes.`product_number`, `color` = changes.`color`, `size` = changes.`size`, `list_price` = changes.`list_price`, `standard_cost` = changes.`standard_cost`, `category` = changes.`category`, `top_category` = changes.`top_category`, `model` = changes.`model`, `effective_to` = changes.`effective_to`, `current_flag` = changes.`current_flag`, `version_number` = changes.`version_number`, `load_datetime` = changes.`load_datetime`, `row_audit_id` = changes.`row_audit_id`
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`product_key`, `product_id`, `product_name`, `product_number`, `color`, `size`, `list_price`, `standard_cost`, `category`, `top_category`, `model`, `effective_from`, `effective_to`, `current_flag`, `version_number`, `member_hk`, `load_datetime`, `row_audit_id`) VALUES (changes.`product_key`, changes.`product_id`, changes.`product_name`, changes.`product_number`, changes.`color`, changes.`size`, changes.`list_price`, changes.`standard_cost`, changes.`category`, changes.`top_category`, changes.`model`, changes.`effective_from`, changes.`effective_to`, changes.`current_flag`, changes.`version_number`, changes.`member_hk`, changes.`load_datetime`, changes.`row_audit_id`);
