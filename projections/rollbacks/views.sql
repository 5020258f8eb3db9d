-- grain: one row per entry that returns to an image the tag held before
-- needs: tag_history
CREATE OR REPLACE VIEW rollbacks AS
WITH looked_back AS (
    SELECT *, lag(image) OVER stack AS bad_image, lag(valid_to) OVER stack - lag(valid_from) OVER stack AS bad_for,
           count(*) OVER same_image AS times_held
      FROM tag_history
    WINDOW stack AS (PARTITION BY namespace, image_stream, tag ORDER BY position),
           same_image AS (PARTITION BY namespace, image_stream, tag, image ORDER BY position)
)
SELECT * EXCLUDE (times_held)
  FROM looked_back
 WHERE times_held > 1 AND image <> '' AND bad_image IS DISTINCT FROM image;
COMMENT ON VIEW rollbacks IS 'One row per entry that returns to an image the tag held before; origin tells a rollback from a push.';
COMMENT ON COLUMN rollbacks.bad_image IS 'The image the tag left';
COMMENT ON COLUMN rollbacks.bad_for IS 'For how long the tag had pointed at it';
COMMENT ON COLUMN rollbacks.namespace IS 'Project';
COMMENT ON COLUMN rollbacks.image_stream IS 'Image stream';
COMMENT ON COLUMN rollbacks.tag IS 'Tag';
COMMENT ON COLUMN rollbacks.stack_position IS '1 is the top; counts through deletes';
COMMENT ON COLUMN rollbacks.image IS 'The image returned to';
COMMENT ON COLUMN rollbacks.pull_spec IS 'Where the image can be pulled from';
COMMENT ON COLUMN rollbacks.generation IS 'Generation of the image stream when the tag moved';
COMMENT ON COLUMN rollbacks.valid_from IS 'Since when the tag pointed there, UTC';
COMMENT ON COLUMN rollbacks.valid_to IS 'Until when, UTC; null: it still does';
COMMENT ON COLUMN rollbacks.origin IS 'rollback, or what else put the image back';
COMMENT ON COLUMN rollbacks.actor IS 'Who';
COMMENT ON COLUMN rollbacks.reason IS 'Why';
COMMENT ON COLUMN rollbacks.cause IS 'Id of the command';
COMMENT ON COLUMN rollbacks.caused_by IS 'Log position of the event that a follower follows';
COMMENT ON COLUMN rollbacks.restores IS 'Log position of the original entry that a rollback returned to';
COMMENT ON COLUMN rollbacks.deleted IS 'When the tag was deleted, UTC; null: it exists';
COMMENT ON COLUMN rollbacks.position IS 'Log position of the event that made the entry';
