CREATE TABLE IF NOT EXISTS `mart`.`fact_sales_line` (
  `order_date_key` INT NOT NULL COMMENT 'dim_date as of the event',
  `product_key` BIGINT NOT NULL COMMENT 'dim_product as of the event',
  `customer_key` BIGINT NOT NULL COMMENT 'dim_customer as of the event',
  `ship_to_key` BIGINT NOT NULL COMMENT 'dim_address as of the event',
  `bill_to_key` BIGINT NOT NULL COMMENT 'dim_address as of the event',
  `sales_order_id` INT COMMENT 'Grain',
  `SalesOrderDetailID` INT COMMENT 'Grain',
  `sales_order_number` STRING,
  `order_quantity` SMALLINT,
  `unit_price` DECIMAL(19,4),
  `line_total` DECIMAL(38,6),
  `event_datetime` TIMESTAMP COMMENT 'When it happened (UTC)',
  `sales_order_hk` BINARY NOT NULL COMMENT 'Hash key, to join back to the vault',
  `load_datetime` TIMESTAMP NOT NULL COMMENT 'Load date-time of the newest row it was made from (UTC)',
  `row_audit_id` BIGINT COMMENT 'The run that staged its key',
  `load_position` BIGINT NOT NULL COMMENT 'Position of the commit that wrote the row'
)
USING DELTA
COMMENT 'One row per order line'
TBLPROPERTIES ('delta.checkpointInterval' = '100', 'delta.enableDeletionVectors' = 'false');

MERGE INTO `mart`.`fact_sales_line` AS target
USING (
  WITH touched AS (
    -- the transactions that new rows concern, and those whose member was unknown
    SELECT `sales_order_hk`, `SalesOrderDetailID` FROM `vault`.`link_order_line` WHERE load_position > :from_position
    UNION SELECT `sales_order_hk`, `SalesOrderDetailID` FROM `vault`.`link_order_line` WHERE `link_order_line_hk` IN (
      SELECT `link_order_line_hk` FROM `vault`.`sat_order_line` WHERE load_position > :from_position)
    UNION SELECT `sales_order_hk`, `SalesOrderDetailID` FROM `vault`.`link_order_line` WHERE `sales_order_hk` IN (
      SELECT `sales_order_hk` FROM `vault`.`hub_sales_order` WHERE load_position > :from_position)
    UNION SELECT `sales_order_hk`, `SalesOrderDetailID` FROM `vault`.`link_order_line` WHERE `sales_order_hk` IN (
      SELECT `sales_order_hk` FROM `vault`.`sat_sales_order` WHERE load_position > :from_position)
    UNION SELECT `sales_order_hk`, `SalesOrderDetailID` FROM `mart`.`fact_sales_line` LEFT SEMI JOIN (
      SELECT 'dim_date' AS dimension, max(load_position) AS head FROM `mart`.`dim_date`
      UNION ALL SELECT 'dim_product' AS dimension, max(load_position) AS head FROM `mart`.`dim_product`
      UNION ALL SELECT 'dim_customer' AS dimension, max(load_position) AS head FROM `mart`.`dim_customer`
      UNION ALL SELECT 'dim_address' AS dimension, max(load_position) AS head FROM `mart`.`dim_address`
      ) AS grown ON grown.dimension = 'dim_date' AND grown.head > :from_position AND (`order_date_key` = -1)
        OR grown.dimension = 'dim_product' AND grown.head > :from_position AND (`product_key` = -1)
        OR grown.dimension = 'dim_customer' AND grown.head > :from_position AND (`customer_key` = -1)
        OR grown.dimension = 'dim_address' AND grown.head > :from_position AND (`ship_to_key` = -1 OR `bill_to_key` = -1)
  ),
  base AS (
    SELECT base.*
    FROM `vault`.`link_order_line` AS base
    LEFT SEMI JOIN touched ON base.`sales_order_hk` = touched.`sales_order_hk` AND base.`SalesOrderDetailID` = touched.`SalesOrderDetailID`
  ),
  newest_sat_order_line AS (
    -- newest version
    SELECT `link_order_line_hk` AS owner_hk, max_by(struct(`OrderQty`, `UnitPrice`, `LineTotal`, deleted_flag, load_datetime), load_datetime) AS `sat_order_line`
    FROM `vault`.`sat_order_line`
    WHERE `link_order_line_hk` IN (SELECT `link_order_line_hk` FROM base)
    GROUP BY `link_order_line_hk`
  ),
  newest_sales_order_hub_sales_order AS (
    -- business key
    SELECT `sales_order_hk` AS owner_hk, struct(`sales_order_id`) AS `sales_order_hub_sales_order`
    FROM `vault`.`hub_sales_order`
    WHERE `sales_order_hk` IN (SELECT `sales_order_hk` FROM base)
  ),
  newest_sales_order_sat_sales_order AS (
    -- newest version
    SELECT `sales_order_hk` AS owner_hk, max_by(struct(`OrderDate`, `SalesOrderNumber`, `CustomerID`, `ShipToAddressID`, `BillToAddressID`, deleted_flag, load_datetime), load_datetime) AS `sales_order_sat_sales_order`
    FROM `vault`.`sat_sales_order`
    WHERE `sales_order_hk` IN (SELECT `sales_order_hk` FROM base)
    GROUP BY `sales_order_hk`
  ),
  joined AS (
    SELECT base.*, newest_sat_order_line.`sat_order_line`, newest_sales_order_hub_sales_order.`sales_order_hub_sales_order`, newest_sales_order_sat_sales_order.`sales_order_sat_sales_order`
    FROM base
    LEFT JOIN newest_sat_order_line ON newest_sat_order_line.owner_hk = base.`link_order_line_hk`
    LEFT JOIN newest_sales_order_hub_sales_order ON newest_sales_order_hub_sales_order.owner_hk = base.`sales_order_hk`
    LEFT JOIN newest_sales_order_sat_sales_order ON newest_sales_order_sat_sales_order.owner_hk = base.`sales_order_hk`
  ),
  named AS (
    -- the values by the names that expressions use; the newest row of a grain first
    SELECT
      *,
      `sat_order_line`.`OrderQty`,
      `sat_order_line`.`UnitPrice`,
      `sat_order_line`.`LineTotal`,
      `sales_order_hub_sales_order`.`sales_order_id`,
      `sales_order_sat_sales_order`.`OrderDate`,
      `sales_order_sat_sales_order`.`SalesOrderNumber`,
      `sales_order_sat_sales_order`.`CustomerID`,
      `sales_order_sat_sales_order`.`ShipToAddressID`,
      `sales_order_sat_sales_order`.`BillToAddressID`,
      struct(`SalesOrderDetailID`) AS `link_order_line`,
      greatest(load_datetime, `sat_order_line`.load_datetime, `sales_order_sat_sales_order`.load_datetime) AS newest,
      coalesce(`sat_order_line`.deleted_flag, FALSE) AS deleted,
      row_number() OVER (PARTITION BY `sales_order_hk`, `SalesOrderDetailID` ORDER BY `sat_order_line`.load_datetime DESC NULLS LAST, load_datetime DESC, `link_order_line_hk`) AS fact_age
    FROM joined
  ),
  facts AS (
    -- one row per grain, and what its members are found by
    SELECT
      `sales_order_hub_sales_order`.`sales_order_id`,
      `link_order_line`.`SalesOrderDetailID`,
      SalesOrderNumber AS `sales_order_number`,
      OrderQty AS `order_quantity`,
      UnitPrice AS `unit_price`,
      LineTotal AS `line_total`,
      `sales_order_hk`,
      CAST(OrderDate AS TIMESTAMP) AS `event_datetime`,
      CAST(OrderDate AS DATE) AS `order_date_found_by`,
      `product_hk` AS `product_found_by`,
      CASE WHEN NOT (CustomerID IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(CustomerID AS STRING)), ':', CAST(CustomerID AS STRING)), '-'))) END AS `customer_found_by`,
      CASE WHEN NOT (ShipToAddressID IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(ShipToAddressID AS STRING)), ':', CAST(ShipToAddressID AS STRING)), '-'))) END AS `ship_to_found_by`,
      CASE WHEN NOT (BillToAddressID IS NULL) THEN unhex(md5(coalesce(concat(char_length(CAST(BillToAddressID AS STRING)), ':', CAST(BillToAddressID AS STRING)), '-'))) END AS `bill_to_found_by`,
      newest AS `load_datetime`,
      `row_audit_id`,
      `deleted`
    FROM named
    WHERE fact_age = 1
  ),
  keyed AS (
    -- the members that held at the event; -1 where there is none
    SELECT
      coalesce(`order_date`.`date_key`, -1) AS `order_date_key`,
      coalesce(`product`.`product_key`, -1) AS `product_key`,
      coalesce(`customer`.`customer_key`, -1) AS `customer_key`,
      coalesce(`ship_to`.`address_key`, -1) AS `ship_to_key`,
      coalesce(`bill_to`.`address_key`, -1) AS `bill_to_key`,
      facts.`sales_order_id`,
      facts.`SalesOrderDetailID`,
      facts.`sales_order_number`,
      facts.`order_quantity`,
      facts.`unit_price`,
      facts.`line_total`,
      facts.`event_datetime`,
      facts.`sales_order_hk`,
      facts.`load_datetime`,
      facts.`row_audit_id`,
      facts.deleted AS `deleted`
    FROM facts
    LEFT JOIN `mart`.`dim_date` AS `order_date`
      ON facts.`order_date_found_by` = `order_date`.`date`
    LEFT JOIN (
      -- when the pages of 64 versions begin, of the members that have more than one
      SELECT member_hk, collect_list(effective_from) AS begins
      FROM `mart`.`dim_product`
      WHERE version_number > 1 AND version_number % 64 = 1
      GROUP BY member_hk
    ) AS `product_pages`
      ON facts.`product_found_by` = `product_pages`.member_hk
    LEFT JOIN `mart`.`dim_product` AS `product`
      ON facts.`product_found_by` = `product`.member_hk
      AND (`product`.version_number - 1) DIV 64 = coalesce(array_size(filter(`product_pages`.begins, begins -> coalesce(begins <= facts.event_datetime, TRUE))), 0)
      AND CASE WHEN facts.event_datetime IS NULL THEN `product`.current_flag ELSE
        (facts.event_datetime >= `product`.effective_from OR `product`.version_number = 1)
        AND (`product`.effective_to IS NULL OR facts.event_datetime < `product`.effective_to) END
    LEFT JOIN (
      -- when the pages of 64 versions begin, of the members that have more than one
      SELECT member_hk, collect_list(effective_from) AS begins
      FROM `mart`.`dim_customer`
      WHERE version_number > 1 AND version_number % 64 = 1
      GROUP BY member_hk
    ) AS `customer_pages`
      ON facts.`customer_found_by` = `customer_pages`.member_hk
    LEFT JOIN `mart`.`dim_customer` AS `customer`
      ON facts.`customer_found_by` = `customer`.member_hk
      AND (`customer`.version_number - 1) DIV 64 = coalesce(array_size(filter(`customer_pages`.begins, begins -> coalesce(begins <= facts.event_datetime, TRUE))), 0)
      AND CASE WHEN facts.event_datetime IS NULL THEN `customer`.current_flag ELSE
        (facts.event_datetime >= `customer`.effective_from OR `customer`.version_number = 1)
        AND (`customer`.effective_to IS NULL OR facts.event_datetime < `customer`.effective_to) END
    LEFT JOIN (
      -- when the pages of 64 versions begin, of the members that have more than one
      SELECT member_hk, collect_list(effective_from) AS begins
      FROM `mart`.`dim_address`
      WHERE version_number > 1 AND version_number % 64 = 1
      GROUP BY member_hk
    ) AS `ship_to_pages`
      ON facts.`ship_to_found_by` = `ship_to_pages`.member_hk
    LEFT JOIN `mart`.`dim_address` AS `ship_to`
      ON facts.`ship_to_found_by` = `ship_to`.member_hk
      AND (`ship_to`.version_number - 1) DIV 64 = coalesce(array_size(filter(`ship_to_pages`.begins, begins -> coalesce(begins <= facts.event_datetime, TRUE))), 0)
      AND CASE WHEN facts.event_datetime IS NULL THEN `ship_to`.current_flag ELSE
        (facts.event_datetime >= `ship_to`.effective_from OR `ship_to`.version_number = 1)
        AND (`ship_to`.effective_to IS NULL OR facts.event_datetime < `ship_to`.effective_to) END
    LEFT JOIN (
      -- when the pages of 64 versions begin, of the members that have more than one
      SELECT member_hk, collect_list(effective_from) AS begins
      FROM `mart`.`dim_address`
      WHERE version_number > 1 AND version_number % 64 = 1
      GROUP BY member_hk
    ) AS `bill_to_pages`
      ON facts.`bill_to_found_by` = `bill_to_pages`.member_hk
    LEFT JOIN `mart`.`dim_address` AS `bill_to`
      ON facts.`bill_to_found_by` = `bill_to`.member_hk
      AND (`bill_to`.version_number - 1) DIV 64 = coalesce(array_size(filter(`bill_to_pages`.begins, begins -> coalesce(begins <= facts.event_datetime, TRUE))), 0)
      AND CASE WHEN facts.event_datetime IS NULL THEN `bill_to`.current_flag ELSE
        (facts.event_datetime >= `bill_to`.effective_from OR `bill_to`.version_number = 1)
        AND (`bill_to`.effective_to IS NULL OR facts.event_datetime < `bill_to`.effective_to) END
  )
  SELECT
    keyed.`order_date_key`,
    keyed.`product_key`,
    keyed.`customer_key`,
    keyed.`ship_to_key`,
    keyed.`bill_to_key`,
    keyed.`sales_order_id`,
    coalesce(keyed.`SalesOrderDetailID`, target.`SalesOrderDetailID`) AS `SalesOrderDetailID`,
    keyed.`sales_order_number`,
    keyed.`order_quantity`,
    keyed.`unit_price`,
    keyed.`line_total`,
    keyed.`event_datetime`,
    coalesce(keyed.`sales_order_hk`, target.`sales_order_hk`) AS `sales_order_hk`,
    keyed.`load_datetime`,
    keyed.`row_audit_id`,
    CASE
      WHEN keyed.`sales_order_hk` IS NULL OR keyed.deleted THEN CASE WHEN target.`sales_order_hk` IS NOT NULL THEN 'removed' ELSE 'ignored' END
      WHEN NOT (target.`sales_order_hk` IS NOT NULL) THEN 'inserted'
      WHEN struct(keyed.`order_date_key`, keyed.`product_key`, keyed.`customer_key`, keyed.`ship_to_key`, keyed.`bill_to_key`, keyed.`sales_order_id`, keyed.`sales_order_number`, keyed.`order_quantity`, keyed.`unit_price`, keyed.`line_total`, keyed.`event_datetime`) <=> struct(target.`order_date_key`, target.`product_key`, target.`customer_key`, target.`ship_to_key`, target.`bill_to_key`, target.`sales_order_id`, target.`sales_order_number`, target.`order_quantity`, target.`unit_price`, target.`line_total`, target.`event_datetime`) THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM keyed
  FULL OUTER JOIN (SELECT known.* FROM `mart`.`fact_sales_line` AS known LEFT SEMI JOIN touched ON known.`sales_order_hk` = touched.`sales_order_hk` AND known.`SalesOrderDetailID` = touched.`SalesOrderDetailID`) AS target
    ON keyed.`sales_order_hk` = target.`sales_order_hk` AND keyed.`SalesOrderDetailID` = target.`SalesOrderDetailID`
) AS changes
ON target.`sales_order_hk` = changes.`sales_order_hk` AND target.`SalesOrderDetailID` = changes.`SalesOrderDetailID`
WHEN MATCHED AND changes.outcome = 'removed' AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN DELETE
WHEN MATCHED AND (target.`load_position` IS NULL OR target.`load_position` <= changes.`load_position`) THEN UPDATE SET `order_date_key` = changes.`order_date_key`, `product_key` = changes.`product_key`, `customer_key` = changes.`customer_key`, `ship_to_key` = changes.`ship_to_key`, `bill_to_key` = changes.`bill_to_key`, `sales_order_id` = changes.`sales_order_id`, `sales_order_number` = changes.`sales_order_number`, `order_quantity` = changes.`order_quantity`, `unit_price` = changes.`unit_price`, `line_total` = changes.`line_total`, `event_datetime` = changes.`event_datetime`, `load_datetime` = changes.`load_datetime`, `row_audit_id` = changes.`row_audit_id`
WHEN NOT MATCHED AND changes.outcome <> 'removed'
  THEN INSERT (`order_date_key`, `product_key`, `customer_key`, `ship_to_key`, `bill_to_key`, `sales_order_id`, `SalesOrderDetailID`, `sales_order_number`, `order_quantity`, `unit_price`, `line_total`, `event_datetime`, `sales_order_hk`, `load_datetime`, `row_audit_id`) VALUES (changes.`order_date_key`, changes.`product_key`, changes.`customer_key`, changes.`ship_to_key`, changes.`bill_to_key`, changes.`sales_order_id`, changes.`SalesOrderDetailID`, changes.`sales_order_number`, changes.`order_quantity`, changes.`unit_price`, changes.`line_total`, changes.`event_datetime`, changes.`sales_order_hk`, changes.`load_datetime`, changes.`row_audit_id`);
