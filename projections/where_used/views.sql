-- grain: one row per tag that ever pointed at an image
-- needs: tag_history
CREATE OR REPLACE MACRO where_used(image_) AS TABLE
SELECT namespace, image_stream, tag, min(valid_from) AS first, max(valid_from) AS last, count(*) AS times,
       to_microseconds(sum(coalesce(epoch_us(valid_to), epoch_us(now())) - epoch_us(valid_from))::BIGINT) AS held_for
  FROM tag_history
 WHERE image <> '' AND (starts_with(image, image_) OR starts_with(split_part(image, ':', 2), image_))
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
