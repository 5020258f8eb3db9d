-- grain: one row per entry of a history stack, deleted tags included
-- needs: image_streams, tag_changes
CREATE OR REPLACE VIEW tag_history AS
WITH marks AS (          -- what begins or ends an entry, with the pull spec the entry has by now
    SELECT c.*, max_by(pull_spec, position) OVER entry AS newest_pull_spec,
           max_by(generation, position) OVER entry AS newest_generation
      FROM tag_changes c
     WHERE type IN ('image_tagged', 'tag_deleted')
    WINDOW entry AS (PARTITION BY namespace, image_stream, tag, entry_position)
), ordered AS (
    SELECT *, count(*) FILTER (is_entry) OVER newest_first AS stack_position,
           lead(time) OVER oldest_first AS next_time
      FROM marks
     WHERE is_entry OR type = 'tag_deleted'
    WINDOW oldest_first AS (PARTITION BY namespace, image_stream, tag ORDER BY position),
           newest_first AS (PARTITION BY namespace, image_stream, tag ORDER BY position DESC)
)
SELECT o.namespace, o.image_stream, o.tag, o.stack_position, o.image,
       o.newest_pull_spec AS pull_spec, o.newest_generation AS generation,
       o.since AS valid_from, coalesce(o.next_time, s.deleted) AS valid_to,
       o.origin, o.actor, o.reason, o.cause, o.caused_by, o.restores,
       coalesce(first_value(o.next_time) OVER (PARTITION BY o.namespace, o.image_stream, o.tag ORDER BY o.stack_position),
                s.deleted) AS deleted,
       o.position
  FROM ordered o
  LEFT JOIN image_streams s ON s.namespace = o.namespace AND s.image_stream = o.image_stream
 WHERE o.is_entry;

CREATE OR REPLACE MACRO tag_stack(ref_) AS TABLE
SELECT * FROM tag_history
 WHERE namespace = split_part(ref_, '/', 1)
   AND image_stream = split_part(split_part(ref_, '/', 2), ':', 1)
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
