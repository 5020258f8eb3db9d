-- grain: one row per complaint
SELECT 'image_streams has an image stream twice' AS complaint, namespace || '/' || image_stream AS detail
  FROM image_streams GROUP BY namespace, image_stream HAVING count(*) > 1;
