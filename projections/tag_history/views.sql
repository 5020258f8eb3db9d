-- grain: one row per entry of a history stack, deleted tags included
-- needs: image_streams, tag_changes
CREATE OR REPLACE VIEW tag_history AS
WITH states AS (         -- an entry's last state says all of it: a new pull spec leaves the rest as it was
    SELECT *, lead(entry_position) OVER stack IS DISTINCT FROM entry_position AS is_last, lead(time) OVER stack AS next_time,
           count(*) FILTER (is_entry) OVER (stack ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS above,
           last_value(CASE WHEN type = 'tag_deleted' THEN time END)
               OVER (stack ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS ended
      FROM tag_changes
     WHERE type IN ('image_tagged', 'tag_deleted')
    WINDOW stack AS (PARTITION BY namespace, image_stream, tag ORDER BY position)
)
SELECT h.namespace, h.image_stream, h.tag, h.above + 1 AS stack_position, h.image, h.pull_spec, h.generation,
       h.since AS valid_from, coalesce(h.next_time, s.deleted) AS valid_to,
       h.origin, h.actor, h.reason, h.cause, h.caused_by, h.restores,
       coalesce(h.ended, s.deleted) AS deleted, h.entry_position AS position
  FROM states h
  LEFT JOIN image_streams s       -- the deleted ones only: few, so the join with them is nearly free
         ON s.namespace = h.namespace AND s.image_stream = h.image_stream AND s.deleted IS NOT NULL
 WHERE h.is_last AND h.entry_position IS NOT NULL;

CREATE OR REPLACE MACRO tag_stack(ref_) AS TABLE
SELECT * FROM tag_history
 WHERE namespace = split_part(ref_, '/', 1)
   AND image_stream = regexp_extract(ref_, '/(.*):', 1)
   AND tag = split_part(ref_, ':', 2)
 ORDER BY stack_position;

COMMENT ON MACRO TABLE tag_stack IS 'The rows of tag_history of one tag, newest first.
ref_: the tag as namespace/image_stream:tag; of one that never was there are no rows';
COMMENT ON VIEW tag_history IS 'One row per entry of a history stack, deleted tags included. Times are UTC.';
COMMENT ON COLUMN tag_history.namespace IS 'Project';
COMMENT ON COLUMN tag_history.image_stream IS 'Image stream';
COMMENT ON COLUMN tag_history.tag IS 'Tag';
COMMENT ON COLUMN tag_history.stack_position IS '1 is the top; counts through deletes';
COMMENT ON COLUMN tag_history.image IS 'The image; empty for a reference tag';
COMMENT ON COLUMN tag_history.pull_spec IS 'Where the image can be pulled from';
COMMENT ON COLUMN tag_history.generation IS 'Generation of the image stream when the tag moved';
COMMENT ON COLUMN tag_history.valid_from IS 'Since when the tag pointed there, UTC';
COMMENT ON COLUMN tag_history.valid_to IS 'Until when, UTC; null: it still does';
COMMENT ON COLUMN tag_history.origin IS 'mapping, tag, alias, rollback, release, promote or import';
COMMENT ON COLUMN tag_history.actor IS 'Who';
COMMENT ON COLUMN tag_history.reason IS 'Why';
COMMENT ON COLUMN tag_history.cause IS 'Id of the command';
COMMENT ON COLUMN tag_history.caused_by IS 'Log position of the event that a follower follows';
COMMENT ON COLUMN tag_history.restores IS 'Log position of the original entry that a rollback returned to';
COMMENT ON COLUMN tag_history.deleted IS 'When the tag was deleted, UTC; null: it exists';
COMMENT ON COLUMN tag_history.position IS 'Log position of the event that made the entry';
