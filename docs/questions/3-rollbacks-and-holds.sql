-- theme: Rollbacks and holds

-- question: Which rollbacks were there this quarter, and how long did the bad image live?
-- note: `origin` tells a rollback from a push of an older image, and leaves out the aliases that went along.
SELECT namespace || '/' || image_stream || ':' || tag AS tag, valid_from AS rolled_back, actor, reason, bad_image[:19] AS bad_image, bad_for
  FROM rollbacks
 WHERE origin = 'rollback' AND date_trunc('quarter', valid_from) = DATE '2026-07-01'
 ORDER BY valid_from;

-- question: Which images came back to production?
SELECT image_stream, image[:19] AS image, count(*) AS times, min(valid_from) AS first, max(valid_from) AS last
  FROM tag_history
 WHERE namespace = 'prod' AND tag = 'latest'
 GROUP BY ALL
HAVING times > 1
 ORDER BY times DESC, first;

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
