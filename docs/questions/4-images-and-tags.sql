-- theme: Images and where they run

-- question: Which tags ever pointed at this image?
-- note: The beginning of a digest will do. `held_for` counts until now where a tag still points there.
SELECT namespace, image_stream, tag, first, last, times, held_for
  FROM where_used('sha256:40e8259c')
 ORDER BY first;

-- question: How long does an image take from its first tag to production?
SELECT image_stream, count(*) AS images, round(avg(epoch(lead)) / 3600, 1) AS mean_hours, median(lead) AS median, max(lead) AS slowest
  FROM tag_lead_time
 WHERE namespace = 'prod' AND tag = 'latest'
 GROUP BY image_stream
 ORDER BY image_stream;

-- question: Which image served longest in production?
SELECT h.image_stream, i.labels['org.opencontainers.image.version'] AS version,
       round(sum(epoch(coalesce(h.valid_to, TIMESTAMP '2026-09-30') - h.valid_from)) / 86400, 1) AS days, bool_or(h.valid_to IS NULL) AS still_does
  FROM tag_history h JOIN images i USING (image)
 WHERE h.namespace = 'prod' AND h.tag = 'latest'
 GROUP BY ALL
 ORDER BY days DESC
 LIMIT 5;

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

-- question: How many bytes do the images of all tags take, layers counted once?
SELECT count(*) AS layers, sum(size) AS bytes, sum(size * times) AS bytes_if_not_shared
  FROM (SELECT layer, any_value(l.size) AS size, count(*) AS times
          FROM image_layers l SEMI JOIN current_tags USING (image)
         GROUP BY layer);
