-- grain: one row per child of the manifest lists recorded in the batch
-- folds: image_recorded
INSERT INTO image_manifests
SELECT image, child.digest, child.architecture, child.os, child.variant, try_cast(child.manifestSize AS BIGINT)
  FROM (SELECT image, unnest(recorded.dockerImageManifests) AS child FROM batch WHERE type = 'image_recorded');
