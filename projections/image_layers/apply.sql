-- grain: one row per layer of the images recorded in the batch
-- folds: image_recorded
INSERT INTO image_layers
SELECT image, ordinal, layer.name, try_cast(layer.size AS BIGINT), layer.mediaType
  FROM (SELECT image, generate_subscripts(recorded.dockerImageLayers, 1)::INTEGER AS ordinal,
               unnest(recorded.dockerImageLayers) AS layer
          FROM batch WHERE type = 'image_recorded');
