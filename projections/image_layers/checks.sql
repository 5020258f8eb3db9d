-- grain: one row per complaint
SELECT 'image_layers has a place twice' AS complaint, image AS detail
  FROM image_layers GROUP BY image, ordinal HAVING count(*) > 1;
