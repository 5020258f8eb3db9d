-- grain: one row per event of the batch that moves, deletes, holds or releases a tag
-- folds: image_tagged, tag_deleted, tag_held, tag_released
INSERT INTO tag_changes
SELECT namespace, image_stream, tag, position, time, type,
       type = 'image_tagged' AND image IS DISTINCT FROM previous_image,
       CASE WHEN head IS NOT NULL THEN coalesce(nullif(head.position, 0), position) END,
       image, pull_spec, head.generation, head.since, head.origin, head.actor,
       CASE WHEN head IS NOT NULL THEN coalesce(head.reason, '') END, head.cause, head.causedBy, head.restores,
       hold.since, hold.actor, CASE WHEN hold IS NOT NULL THEN coalesce(hold.reason, '') END
  FROM batch
 WHERE type IN ('image_tagged', 'tag_deleted', 'tag_held', 'tag_released');
