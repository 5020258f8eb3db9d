-- grain: one row per tag of the batch, as its last event leaves it
-- folds: image_tagged, push_withheld, tag_configured, tag_held, tag_released, tag_deleted, image_stream_deleted
CREATE OR REPLACE TEMP TABLE touched AS
SELECT b.namespace, b.image_stream, b.tag, max(b.position) AS position,
       count(*) FILTER (type = 'image_tagged' AND image IS DISTINCT FROM previous_image)
       + coalesce(any_value(m.moves), 0) AS moves
  FROM batch b
  LEFT JOIN tag_moves m ON m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag
 WHERE b.tag IS NOT NULL
 GROUP BY ALL;

DELETE FROM tag_moves m USING touched t
 WHERE m.namespace = t.namespace AND m.image_stream = t.image_stream AND m.tag = t.tag;
INSERT INTO tag_moves SELECT namespace, image_stream, tag, moves FROM touched WHERE moves > 0;

DELETE FROM current_tags c USING touched t
 WHERE c.namespace = t.namespace AND c.image_stream = t.image_stream AND c.tag = t.tag;

-- a deleted image stream takes its tags along at once
DELETE FROM current_tags c USING (FROM batch WHERE type = 'image_stream_deleted') gone
 WHERE c.namespace = gone.namespace AND c.image_stream = gone.image_stream;

INSERT INTO current_tags
SELECT b.namespace, b.image_stream, b.tag, b.image, b.pull_spec, b.head.generation, b.head.since,
       b.head.actor, coalesce(b.head.reason, ''), b.head.origin,
       b.hold.since, b.hold.actor, CASE WHEN b.hold IS NOT NULL THEN coalesce(b.hold.reason, '') END,
       t.moves, coalesce(nullif(b.head.position, 0), b.position)
  FROM batch b
  JOIN touched t USING (position)
 WHERE b.image <> ''
   AND NOT EXISTS (FROM batch gone
                    WHERE gone.type = 'image_stream_deleted' AND gone.namespace = b.namespace
                      AND gone.image_stream = b.image_stream AND gone.position > b.position);
