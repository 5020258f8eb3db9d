-- grain: one row per tag that pointed at an image at a moment
-- needs: image_streams, tag_changes
-- a cast of text to TIMESTAMP drops its zone, so text that has one goes by way of TIMESTAMPTZ
CREATE OR REPLACE MACRO utc(t_) AS
CASE WHEN regexp_matches(t_::VARCHAR, ':.*(Z|[+-]\d{2}(:?\d{2})?)$')
     THEN make_timestamp(epoch_us((t_::VARCHAR)::TIMESTAMPTZ)) ELSE (t_::VARCHAR)::TIMESTAMP END;

CREATE OR REPLACE MACRO tags_as_of(t_) AS TABLE
WITH known AS (          -- positions first: carrying whole rows through the grouping takes ten times as long
    SELECT namespace, image_stream, tag, max(position) AS position, count(*) FILTER (is_entry) AS moves
      FROM tag_changes
     WHERE time <= utc(t_)
     GROUP BY ALL
), gone AS (             -- few, so the join with them is nearly free
    SELECT namespace, image_stream FROM image_streams WHERE deleted <= utc(t_)
)
SELECT k.namespace, k.image_stream, k.tag, c.image, c.pull_spec, c.generation, c.since, c.actor,
       c.reason, c.origin, c.held_since, c.held_by, c.hold_reason, k.moves, c.entry_position AS position
  FROM known k
  JOIN tag_changes c ON c.position = k.position
  LEFT JOIN gone ON gone.namespace = k.namespace AND gone.image_stream = k.image_stream
 WHERE c.image <> '' AND gone.namespace IS NULL;

COMMENT ON MACRO utc IS 'A moment as TIMESTAMP in UTC: without a zone it is UTC, with one it is converted.';
COMMENT ON MACRO TABLE tags_as_of IS 'The rows that current_tags had at a moment.
t_: text and TIMESTAMP are UTC; TIMESTAMPTZ, and text with an offset, are converted';
