-- theme: Where tags point

-- question: What did prod/api:latest point to at a time?
SELECT image[:19] AS image, pull_spec[:40] AS pull_spec, since, actor, reason
  FROM tags_as_of('2026-09-08 20:00')
 WHERE namespace = 'prod' AND image_stream = 'api' AND tag = 'latest';

-- question: Who moved it, when, and why?
SELECT stack_position AS n, image[:19] AS image, valid_from, valid_to, origin, actor, reason
  FROM tag_stack('prod/api:latest')
 LIMIT 8;

-- question: Which version runs where now, and what is held?
SELECT namespace, image_stream, tag, i.labels['org.opencontainers.image.version'] AS version, since, actor, held_by, hold_reason
  FROM current_tags t JOIN images i USING (image)
 WHERE namespace = 'prod'
 ORDER BY ALL;

-- question: Which version has each environment, side by side?
PIVOT (SELECT image_stream, namespace, i.labels['org.opencontainers.image.version'] AS version
         FROM current_tags JOIN images i USING (image)
        WHERE tag = 'latest' AND namespace <> 'tools')
   ON namespace IN ('dev', 'staging', 'prod') USING any_value(version)
ORDER BY image_stream;

-- question: Which tags follow which?
SELECT namespace || '/' || image_stream || ':' || tag AS tag, max_by(data->>'$.spec.from.namespace', position) AS from_namespace,
       max_by(data->>'$.spec.from.name', position) AS from_name,
       coalesce(max_by(data->'$.spec.annotations'->>'tagstack.dev/follow', position), 'alias') AS follows
  FROM events
 WHERE type = 'tag_configured'
 GROUP BY ALL
HAVING from_name IS NOT NULL
 ORDER BY ALL;

-- question: Which tags were deleted, and what did they hold?
-- note: Whatever a tag held can be rolled back to.
SELECT namespace || '/' || image_stream || ':' || tag AS tag, deleted, image[:19] AS image, valid_to - valid_from AS lived
  FROM tag_history
 WHERE deleted IS NOT NULL AND stack_position = 1
 ORDER BY deleted, tag;
