-- grain: one row per complaint
SELECT 'images has an image twice' AS complaint, image AS detail FROM images GROUP BY image HAVING count(*) > 1;
