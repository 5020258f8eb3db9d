-- grain: one row per entry that returns to an image the tag held before
CREATE OR REPLACE VIEW rollbacks AS
WITH looked_back AS (
    SELECT *, lag(image) OVER stack AS bad_image, valid_from - lag(valid_from) OVER stack AS bad_for,
           count(*) OVER same_image AS times_held
      FROM tag_history
    WINDOW stack AS (PARTITION BY namespace, image_stream, tag ORDER BY position),
           same_image AS (PARTITION BY namespace, image_stream, tag, image ORDER BY position)
)
SELECT * EXCLUDE (times_held)
  FROM looked_back
 WHERE times_held > 1 AND image <> '' AND bad_image IS DISTINCT FROM image;
COMMENT ON VIEW rollbacks IS 'Entries that return to an image the tag held before; origin tells a rollback from a push.';
COMMENT ON COLUMN rollbacks.bad_image IS 'The image the tag left';
COMMENT ON COLUMN rollbacks.bad_for IS 'For how long the tag had pointed at it';
