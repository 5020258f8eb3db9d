-- grain: one row per complaint
SELECT 'current_tags has a tag twice' AS complaint, namespace || '/' || image_stream || ':' || tag AS detail
  FROM current_tags GROUP BY ALL HAVING count(*) > 1;
