-- grain: one row per hold of a tag
-- needs: image_streams, tag_changes
CREATE OR REPLACE VIEW holds AS
WITH states AS (
    SELECT *, lead(time) OVER stack AS next_time,
           held_since IS DISTINCT FROM lead(held_since) OVER stack AS is_last
      FROM tag_changes
    WINDOW stack AS (PARTITION BY namespace, image_stream, tag ORDER BY position)
)
SELECT h.namespace, h.image_stream, h.tag, h.image, h.held_since AS held_from,
       coalesce(h.next_time, s.deleted) AS held_to, held_to - held_from AS held_for, h.held_by AS actor, h.hold_reason AS reason
  FROM states h
  LEFT JOIN image_streams s ON s.namespace = h.namespace AND s.image_stream = h.image_stream
 WHERE h.held_since IS NOT NULL AND h.is_last;
COMMENT ON VIEW holds IS 'One row per hold of a tag, ended ones included. Times are UTC.';
COMMENT ON COLUMN holds.namespace IS 'Project';
COMMENT ON COLUMN holds.image_stream IS 'Image stream';
COMMENT ON COLUMN holds.tag IS 'Tag';
COMMENT ON COLUMN holds.image IS 'The image it held, at its end; null: the tag pointed at none';
COMMENT ON COLUMN holds.held_from IS 'Since when, UTC';
COMMENT ON COLUMN holds.held_to IS 'Until when, UTC; null: it still does';
COMMENT ON COLUMN holds.held_for IS 'The time between the two; null: it still does';
COMMENT ON COLUMN holds.actor IS 'Who held it';
COMMENT ON COLUMN holds.reason IS 'Why';
