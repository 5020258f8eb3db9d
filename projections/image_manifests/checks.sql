-- grain: one row per complaint
-- needs: images
SELECT 'image_manifests has a list that is no image' AS complaint, image AS detail
  FROM image_manifests ANTI JOIN images USING (image);
