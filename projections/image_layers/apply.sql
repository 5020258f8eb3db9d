-- grain: one row per layer of the images recorded in the batch
-- folds: image_recorded
INSERT INTO image_layers
SELECT image, ordinal, layers[ordinal]->>'name', try_cast(layers[ordinal]->>'size' AS BIGINT),
       layers[ordinal]->>'mediaType'
  FROM (SELECT image, position, layers, unnest(range(1, len(layers) + 1))::INTEGER AS ordinal
          FROM (SELECT image, position, try_cast(data->'data'->'dockerImageLayers' AS JSON[]) AS layers
                  FROM batch WHERE type = 'image_recorded'))
 ORDER BY position, ordinal;
