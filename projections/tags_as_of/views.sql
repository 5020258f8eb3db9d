-- grain: one row per tag that pointed at an image at a moment
-- needs: image_streams, tag_changes
-- a cast of text to TIMESTAMP drops its zone, so text that has one goes by way of TIMESTAMPTZ
CREATE OR REPLACE MACRO utc(t_) AS
CASE WHEN regexp_matches(t_::VARCHAR, ':.*(Z|[+-]\d{2}(:?\d{2})?)$')
     THEN make_timestamp(epoch_us((t_::VARCHAR)::TIMESTAMPTZ)) ELSE (t_::VARCHAR)::TIMESTAMP END;

CREATE OR REPLACE MACRO tags_as_of(t_) AS TABLE
WITH known AS (
    SELECT namespace, image_stream, tag, count(*) FILTER (is_entry) AS moves, max_by(c, position) AS last
      FROM tag_changes c
     WHERE time <= utc(t_)
     GROUP BY ALL
)
SELECT k.namespace, k.image_stream, k.tag, last.image, last.pull_spec, last.generation, last.since, last.actor,
       last.reason, last.origin, last.held_since, last.held_by, last.hold_reason, k.moves,
       last.entry_position AS position
  FROM known k
  LEFT JOIN image_streams s ON s.namespace = k.namespace AND s.image_stream = k.image_stream
 WHERE last.image <> '' AND (s.deleted IS NULL OR s.deleted > utc(t_));

COMMENT ON MACRO utc IS 'A moment as TIMESTAMP in UTC: without a zone it is UTC, with one it is converted.';
COMMENT ON MACRO TABLE tags_as_of IS 'The rows that current_tags had at a moment.
t_: text and TIMESTAMP are UTC; TIMESTAMPTZ, and text with an offset, are converted';
