-- The questions of sql.md. A line `-- question:` begins one, `-- note:` says more about it; what follows is its statement.

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

-- question: Which rollbacks were there this quarter, and how long did the bad image live?
-- note: `origin` tells a rollback from a push of an older image, and leaves out the aliases that went along.
SELECT namespace || '/' || image_stream || ':' || tag AS tag, valid_from AS rolled_back, actor, reason, bad_image[:19] AS bad_image, bad_for
  FROM rollbacks
 WHERE origin = 'rollback' AND date_trunc('quarter', valid_from) = DATE '2026-07-01'
 ORDER BY valid_from;

-- question: Which tags ever pointed at this image?
-- note: The beginning of a digest will do. `held_for` counts until now where a tag still points there.
SELECT namespace, image_stream, tag, first, last, times, held_for
  FROM where_used('sha256:40e8259c')
 ORDER BY first;

-- question: Which base layers are still in use, and by what?
SELECT layer[:19] AS layer, any_value(l.size) AS bytes, count(*) AS tags, list_sort(list(DISTINCT t.namespace || '/' || t.image_stream)) AS used_by
  FROM current_tags t JOIN image_layers l USING (image)
 WHERE layer IN (SELECT b.layer FROM image_layers b JOIN image_manifests m ON b.image = m.child)
 GROUP BY layer
 ORDER BY tags DESC, layer;

-- question: Which tags do not stand on today's base image?
WITH today AS (
    SELECT layer FROM image_layers l JOIN image_manifests m ON l.image = m.child
      JOIN current_tags t ON t.image = m.image
     WHERE t.namespace = 'tools' AND t.image_stream = 'base' AND t.tag = 'latest' AND l.ordinal = 2
)
SELECT t.namespace, t.image_stream, t.tag, l.layer[:19] AS base_layer, t.since
  FROM current_tags t JOIN image_layers l ON l.image = t.image AND l.ordinal = 2
 WHERE l.layer NOT IN (FROM today)
 ORDER BY ALL;

-- question: How long does an image take from its first tag to production?
SELECT image_stream, count(*) AS images, round(avg(epoch(lead)) / 3600, 1) AS mean_hours, median(lead) AS median, max(lead) AS slowest
  FROM tag_lead_time
 WHERE namespace = 'prod' AND tag = 'latest'
 GROUP BY image_stream
 ORDER BY image_stream;

-- question: Which images does no tag hold any more, and how many bytes is that?
-- note: The children of a manifest list that a tag holds are in use, too.
WITH held AS (
    SELECT image FROM current_tags
    UNION SELECT child FROM image_manifests SEMI JOIN current_tags USING (image)
)
SELECT labels['team'] AS team, coalesce(architecture, 'manifest list') AS architecture, count(*) AS images, sum(size) AS bytes, min(first_seen) AS oldest
  FROM images ANTI JOIN held USING (image)
 GROUP BY ALL
 ORDER BY ALL;

-- question: What changed in a project between two dates?
SELECT image_stream, tag, a.image[:19] AS before, b.image[:19] AS after, b.actor, b.reason
  FROM (FROM tags_as_of('2026-08-01') WHERE namespace = 'prod') a
  FULL JOIN (FROM tags_as_of('2026-09-01') WHERE namespace = 'prod') b USING (image_stream, tag)
 WHERE a.image IS DISTINCT FROM b.image
 ORDER BY ALL;

-- question: Everything that happened to a project on one day, in order?
SELECT position, time, type, image_stream, tag, actor, reason
  FROM events
 WHERE namespace = 'prod' AND time::DATE = DATE '2026-09-08'
 ORDER BY position;

-- question: How long were tags held, by whom, and why?
SELECT namespace || '/' || image_stream || ':' || tag AS tag, held_from, held_for, actor, reason
  FROM holds
 ORDER BY held_from;

-- question: What was withheld meanwhile?
SELECT time, namespace || '/' || image_stream || ':' || tag AS tag, actor, reason, (data->>'$.hold.withheld.image')[:19] AS withheld,
       (data->>'$.hold.reason') AS hold_reason
  FROM events
 WHERE type = 'push_withheld'
 ORDER BY position;

-- question: Who promoted what to production, and who had built it?
SELECT time, actor, image_stream, image[:19] AS image, data->>'$.head.promotedFrom.tag' AS from_tag,
       data->>'$.head.promotedFrom.imageStream' AS from_image_stream, data->>'$.head.promotedFrom.actor' AS built_by
  FROM events
 WHERE type = 'image_tagged' AND origin = 'promote' AND namespace = 'prod' AND time >= '2026-09-01'
 ORDER BY position;

-- question: Who does what?
SELECT actor, count(*) FILTER (origin = 'mapping') AS pushes, count(*) FILTER (origin = 'promote') AS promotions,
       count(*) FILTER (origin = 'rollback') AS rollbacks, count(DISTINCT (namespace, image_stream)) AS image_streams
  FROM tag_history
 WHERE caused_by IS NULL
 GROUP BY actor
 ORDER BY actor;

-- question: Which tags follow which?
SELECT namespace || '/' || image_stream || ':' || tag AS tag, max_by(data->>'$.spec.from.namespace', position) AS from_namespace,
       max_by(data->>'$.spec.from.name', position) AS from_name,
       coalesce(max_by(data->'$.spec.annotations'->>'tagstack.dev/follow', position), 'alias') AS follows
  FROM events
 WHERE type = 'tag_configured'
 GROUP BY ALL
HAVING from_name IS NOT NULL
 ORDER BY ALL;

-- question: What moved because something else moved?
SELECT c.time, c.namespace || '/' || c.image_stream || ':' || c.tag AS moved, e.namespace || '/' || e.image_stream || ':' || e.tag AS followed,
       e.actor, c.time - e.time AS after
  FROM events c JOIN events e ON c.caused_by = e.position
 WHERE c.type = 'image_tagged'
 ORDER BY c.position DESC
 LIMIT 5;

-- question: How much moves per week?
SELECT date_trunc('week', day)::DATE AS week, sum(moves) FILTER (namespace = 'dev') AS dev, sum(moves) FILTER (namespace = 'staging') AS staging,
       sum(moves) FILTER (namespace = 'prod') AS prod
  FROM churn_per_day
 GROUP BY week
 ORDER BY week;

-- question: Which image served longest in production?
SELECT h.image_stream, i.labels['org.opencontainers.image.version'] AS version,
       round(sum(epoch(coalesce(h.valid_to, TIMESTAMP '2026-09-30') - h.valid_from)) / 86400, 1) AS days, bool_or(h.valid_to IS NULL) AS still_does
  FROM tag_history h JOIN images i USING (image)
 WHERE h.namespace = 'prod' AND h.tag = 'latest'
 GROUP BY ALL
 ORDER BY days DESC
 LIMIT 5;

-- question: Which tags were deleted, and what did they hold?
-- note: Whatever a tag held can be rolled back to.
SELECT namespace || '/' || image_stream || ':' || tag AS tag, deleted, image[:19] AS image, valid_to - valid_from AS lived
  FROM tag_history
 WHERE deleted IS NOT NULL AND stack_position = 1
 ORDER BY deleted, tag;

-- question: Which architectures are there?
SELECT coalesce(architecture, 'manifest list') AS architecture, os, count(*) AS images, avg(size)::BIGINT AS mean_bytes, avg(layers) AS layers
  FROM images
 GROUP BY ALL
 ORDER BY images DESC;

-- question: What is inside a manifest list?
SELECT t.namespace || '/' || t.image_stream || ':' || t.tag AS tag, m.child[:19] AS child, m.architecture, m.os, i.size
  FROM current_tags t JOIN image_manifests m USING (image) LEFT JOIN images i ON i.image = m.child
 ORDER BY ALL;

-- question: Where does an environment variable have a value?
SELECT t.namespace, t.image_stream, t.tag, list_filter(i.env, lambda e: starts_with(e, 'FEATURE_')) AS features
  FROM current_tags t JOIN images i USING (image)
 WHERE list_contains(i.env, 'FEATURE_CART=on')
 ORDER BY ALL;

-- question: Which images carry a label?
SELECT labels['team'] AS team, count(*) AS images, max(first_seen) AS newest
  FROM images
 WHERE map_contains(labels, 'team')
 GROUP BY team
 ORDER BY team;

-- question: How many bytes do the images of all tags take, layers counted once?
SELECT count(*) AS layers, sum(size) AS bytes, sum(size * times) AS bytes_if_not_shared
  FROM (SELECT layer, any_value(l.size) AS size, count(*) AS times
          FROM image_layers l SEMI JOIN current_tags USING (image)
         GROUP BY layer);

-- question: Which images came back to production?
SELECT image_stream, image[:19] AS image, count(*) AS times, min(valid_from) AS first, max(valid_from) AS last
  FROM tag_history
 WHERE namespace = 'prod' AND tag = 'latest'
 GROUP BY ALL
HAVING times > 1
 ORDER BY times DESC, first;
