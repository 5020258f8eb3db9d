-- grain: one row per tag of the batch, as its last event leaves it
CREATE OR REPLACE TEMP TABLE moved AS
SELECT namespace, image_stream, tag, sum(moves) AS moves
  FROM (SELECT namespace, image_stream, tag, count(*) AS moves
          FROM batch WHERE type = 'image_tagged' AND image IS DISTINCT FROM previous_image GROUP BY ALL
        UNION ALL
        SELECT m.* FROM tag_moves m SEMI JOIN batch b
            ON m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag)
 GROUP BY ALL;

DELETE FROM tag_moves m USING moved b
 WHERE m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag;
INSERT INTO tag_moves FROM moved;

DELETE FROM current_tags c USING (SELECT DISTINCT namespace, image_stream, tag FROM batch WHERE tag IS NOT NULL) b
 WHERE c.namespace = b.namespace AND c.image_stream = b.image_stream AND c.tag = b.tag;

-- a deleted image stream takes its tags along at once
DELETE FROM current_tags c
 USING (SELECT DISTINCT namespace, image_stream FROM batch WHERE type = 'image_stream_deleted') b
 WHERE c.namespace = b.namespace AND c.image_stream = b.image_stream;

INSERT INTO current_tags
WITH gone AS (
    SELECT namespace, image_stream, max(position) AS position
      FROM batch WHERE type = 'image_stream_deleted' GROUP BY ALL
), newest AS (
    SELECT namespace, image_stream, tag,
           arg_max({'image': image, 'pull_spec': pull_spec, 'head': head, 'hold': hold, 'position': position},
                   position) AS last
      FROM batch WHERE tag IS NOT NULL GROUP BY ALL
)
SELECT n.namespace, n.image_stream, n.tag, last.image, last.pull_spec, last.head.generation, last.head.since,
       last.head.actor, coalesce(last.head.reason, ''), last.head.origin,
       last.hold.since, last.hold.actor, CASE WHEN last.hold IS NOT NULL THEN coalesce(last.hold.reason, '') END,
       m.moves, coalesce(nullif(last.head.position, 0), last.position)
  FROM newest n
  JOIN moved m ON m.namespace = n.namespace AND m.image_stream = n.image_stream AND m.tag = n.tag
  LEFT JOIN gone g ON g.namespace = n.namespace AND g.image_stream = n.image_stream
 WHERE last.image <> '' AND last.position > coalesce(g.position, 0);
