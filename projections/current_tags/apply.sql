-- grain: one row per tag of the batch, as its last event leaves it
-- folds: image_tagged, push_withheld, tag_configured, tag_held, tag_released, tag_deleted
CREATE OR REPLACE TEMP TABLE touched AS
WITH newest AS (         -- positions first: carrying whole rows through the grouping takes longer
    SELECT namespace, image_stream, tag, max(position) AS position,
           count(*) FILTER (type = 'image_tagged' AND image IS DISTINCT FROM previous_image) AS moved
      FROM batch
     WHERE tag IS NOT NULL
     GROUP BY ALL
)
SELECT b.namespace, b.image_stream, b.tag, b.image, b.pull_spec, b.head.generation, b.head.since,
       b.head.actor, coalesce(b.head.reason, '') AS reason, b.head.origin,
       b.hold.since AS held_since, b.hold.actor AS held_by,
       CASE WHEN b.hold IS NOT NULL THEN coalesce(b.hold.reason, '') END AS hold_reason,
       n.moved + coalesce(m.moves, 0) AS moves, coalesce(nullif(b.head.position, 0), b.position) AS position
  FROM newest n
  JOIN batch b USING (position)
  LEFT JOIN tag_moves m ON m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag;

DELETE FROM tag_moves m USING touched t
 WHERE m.namespace = t.namespace AND m.image_stream = t.image_stream AND m.tag = t.tag;
INSERT INTO tag_moves SELECT namespace, image_stream, tag, moves FROM touched WHERE moves > 0;

DELETE FROM current_tags c USING touched t
 WHERE c.namespace = t.namespace AND c.image_stream = t.image_stream AND c.tag = t.tag;
INSERT INTO current_tags FROM touched WHERE image <> '';

-- a deleted image stream takes its tags along at once, but for those of one that was made anew since
-- folds: image_stream_deleted
DELETE FROM current_tags c USING (FROM batch WHERE type = 'image_stream_deleted') gone
 WHERE c.namespace = gone.namespace AND c.image_stream = gone.image_stream AND c.position < gone.position;
