-- theme: What changed, and by whom

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
