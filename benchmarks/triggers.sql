-- grain: one trigger for each statement of the fold of current_tags and tag_changes, fired in the order of their names
-- A trigger holds one statement and sees no table of another catalog, a temporary one neither: what several of
-- them need each computes for itself, and what `events` has no column for each reads from `data`.
CREATE TRIGGER current_tags_1 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
UPDATE tag_moves m SET moves = m.moves + t.moves
  FROM (SELECT namespace, image_stream, tag,
               count(*) FILTER (type = 'image_tagged' AND image IS DISTINCT FROM previous_image) AS moves
          FROM b WHERE tag IS NOT NULL GROUP BY ALL) t
 WHERE m.namespace = t.namespace AND m.image_stream = t.image_stream AND m.tag = t.tag;

CREATE TRIGGER current_tags_2 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
INSERT INTO tag_moves
SELECT namespace, image_stream, tag,
       count(*) FILTER (type = 'image_tagged' AND image IS DISTINCT FROM previous_image) AS moves
  FROM b
 WHERE tag IS NOT NULL
   AND NOT EXISTS (FROM tag_moves m
                    WHERE m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag)
 GROUP BY ALL HAVING moves > 0;

CREATE TRIGGER current_tags_3 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
DELETE FROM current_tags c USING b
 WHERE c.namespace = b.namespace AND c.image_stream = b.image_stream AND c.tag = b.tag;

CREATE TRIGGER current_tags_4 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
DELETE FROM current_tags c USING (FROM b WHERE type = 'image_stream_deleted') gone
 WHERE c.namespace = gone.namespace AND c.image_stream = gone.image_stream;

CREATE TRIGGER current_tags_5 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
INSERT INTO current_tags
SELECT b.namespace, b.image_stream, b.tag, b.image, b.pull_spec, b.state.head.generation,
       b.state.head.since, b.state.head.actor, coalesce(b.state.head.reason, ''), b.state.head.origin,
       b.state.hold.since, b.state.hold.actor,
       CASE WHEN b.state.hold IS NOT NULL THEN coalesce(b.state.hold.reason, '') END,
       coalesce(m.moves, 0), coalesce(nullif(b.state.head.position, 0), b.position)
  FROM (SELECT *, from_json(data, '{
           "head": {"generation": "BIGINT", "since": "TIMESTAMP", "actor": "VARCHAR", "origin": "VARCHAR",
                    "cause": "VARCHAR", "reason": "VARCHAR", "causedBy": "UBIGINT", "position": "UBIGINT",
                    "restores": "UBIGINT"},
           "hold": {"since": "TIMESTAMP", "actor": "VARCHAR", "reason": "VARCHAR"}}') AS state FROM b) b
  JOIN (SELECT max(position) AS position FROM b WHERE tag IS NOT NULL
         GROUP BY namespace, image_stream, tag) newest USING (position)
  LEFT JOIN tag_moves m ON m.namespace = b.namespace AND m.image_stream = b.image_stream AND m.tag = b.tag
 WHERE b.image <> '' AND NOT EXISTS (FROM b gone
        WHERE gone.type = 'image_stream_deleted' AND gone.namespace = b.namespace AND gone.image_stream = b.image_stream
          AND gone.position > b.position);

CREATE TRIGGER tag_changes_1 AFTER INSERT ON events REFERENCING NEW TABLE AS b FOR EACH STATEMENT
INSERT INTO tag_changes
SELECT namespace, image_stream, tag, position, time, type,
       type = 'image_tagged' AND image IS DISTINCT FROM previous_image,
       CASE WHEN state.head IS NOT NULL THEN coalesce(nullif(state.head.position, 0), position) END,
       image, pull_spec, state.head.generation, state.head.since, state.head.origin, state.head.actor,
       CASE WHEN state.head IS NOT NULL THEN coalesce(state.head.reason, '') END, state.head.cause,
       state.head.causedBy, state.head.restores, state.hold.since, state.hold.actor,
       CASE WHEN state.hold IS NOT NULL THEN coalesce(state.hold.reason, '') END
  FROM (SELECT *, from_json(data, '{
           "head": {"generation": "BIGINT", "since": "TIMESTAMP", "actor": "VARCHAR", "origin": "VARCHAR",
                    "cause": "VARCHAR", "reason": "VARCHAR", "causedBy": "UBIGINT", "position": "UBIGINT",
                    "restores": "UBIGINT"},
           "hold": {"since": "TIMESTAMP", "actor": "VARCHAR", "reason": "VARCHAR"}}') AS state FROM b)
 WHERE type IN ('image_tagged', 'tag_deleted', 'tag_held', 'tag_released');
