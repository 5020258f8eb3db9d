-- grain: one row per day and namespace in which a tag moved
-- needs: tag_changes
CREATE OR REPLACE VIEW churn_per_day AS
SELECT date_trunc('day', time)::DATE AS day, namespace, count(*) AS moves,
       count(DISTINCT (image_stream, tag)) AS tags, count(DISTINCT image_stream) AS image_streams
  FROM tag_changes
 WHERE is_entry
 GROUP BY ALL;
COMMENT ON VIEW churn_per_day IS 'One row per day (UTC) and project in which a tag moved: how much did.';
COMMENT ON COLUMN churn_per_day.day IS 'Day, UTC';
COMMENT ON COLUMN churn_per_day.namespace IS 'Project';
COMMENT ON COLUMN churn_per_day.moves IS 'Entries put on history stacks';
COMMENT ON COLUMN churn_per_day.tags IS 'Tags that moved';
COMMENT ON COLUMN churn_per_day.image_streams IS 'Image streams with a tag that moved';
