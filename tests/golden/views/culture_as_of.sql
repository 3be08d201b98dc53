CREATE OR REPLACE VIEW `vault`.`culture_as_of`
COMMENT 'Source culture, restored from the vault'
AS WITH `ref_culture_history_held` AS (
  -- the rows of ref_culture_history that held then
  SELECT
    `CultureID`,
    `Name`
  FROM (
    -- each row beside the last load date-time of its key
    SELECT *, max(load_datetime) OVER (PARTITION BY `CultureID`) AS last_load_datetime
    FROM `vault`.`ref_culture_history`
    WHERE load_datetime < TIMESTAMP '9999-12-31' + INTERVAL '1' SECOND
  )
  WHERE load_datetime = last_load_datetime AND NOT deleted_flag
)
SELECT
  `ref_culture_history_held`.`CultureID`,
  `ref_culture_history_held`.`Name`
FROM `ref_culture_history_held`;
