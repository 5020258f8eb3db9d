-- theme: What is inside images

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
