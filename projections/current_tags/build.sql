-- grain: one row per tag that points at an image, as the whole log leaves it
-- needs: tag_changes, tags_as_of
INSERT INTO current_tags FROM tags_as_of('infinity');
INSERT INTO tag_moves
SELECT namespace, image_stream, tag, count(*) FROM tag_changes WHERE is_entry GROUP BY ALL;
