-- grain: one row per tag that ever pointed at an image
-- needs: image_streams, tag_changes
CREATE OR REPLACE MACRO where_used(image_) AS TABLE
WITH used AS (           -- the tags first: of every other one tag_history would order its whole stack for nothing
    SELECT DISTINCT namespace, image_stream, tag FROM tag_changes
     WHERE is_entry AND image <> '' AND (starts_with(image, image_) OR starts_with(split_part(image, ':', 2), image_))
), ordered AS (
    SELECT *, lead(time) OVER (PARTITION BY namespace, image_stream, tag ORDER BY position) AS next_time
      FROM tag_changes SEMI JOIN used USING (namespace, image_stream, tag)
     WHERE is_entry OR type = 'tag_deleted'
)
SELECT o.namespace, o.image_stream, o.tag, min(since) AS first, max(since) AS last, count(*) AS times,
       to_microseconds(sum(epoch_us(coalesce(next_time, deleted, make_timestamp(epoch_us(now())))) - epoch_us(since))::BIGINT) AS held_for
  FROM ordered o
  LEFT JOIN image_streams s ON s.namespace = o.namespace AND s.image_stream = o.image_stream
 WHERE is_entry AND image <> '' AND (starts_with(image, image_) OR starts_with(split_part(image, ':', 2), image_))
 GROUP BY ALL;
COMMENT ON MACRO TABLE where_used IS 'One row per tag that ever pointed at an image, deleted tags included.
image_: the image, or the beginning of its name or digest
namespace: Project
image_stream: Image stream
tag: Tag
first: When it first pointed there, UTC
last: When it last began to point there, UTC
times: How many entries of its history stack hold the image
held_for: For how long in all, until now where it still does';
