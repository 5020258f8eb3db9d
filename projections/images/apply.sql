-- grain: one row per image recorded in the batch
-- folds: image_recorded
INSERT INTO images
WITH recorded AS (
    SELECT position, time, image, data->'data' AS data, data->'data'->'dockerImageMetadata' AS meta
      FROM batch WHERE type = 'image_recorded'
)
SELECT image,
       data->>'dockerImageReference',
       data->>'dockerImageManifestMediaType',
       meta->>'Architecture',
       meta->>'Os',
       try_cast(meta->>'Created' AS TIMESTAMPTZ) AT TIME ZONE 'UTC',
       try_cast(meta->>'Size' AS BIGINT),
       coalesce(json_array_length(data->'dockerImageLayers'), 0),
       coalesce(try_cast(meta->'Config'->'Labels' AS MAP(VARCHAR, VARCHAR)), MAP {}),
       coalesce(try_cast(meta->'Config'->'Env' AS VARCHAR[]), []),
       coalesce(try_cast(meta->'Config'->'Entrypoint' AS VARCHAR[]), []),
       coalesce(try_cast(meta->'Config'->'Cmd' AS VARCHAR[]), []),
       meta->'Config',
       time,
       position
  FROM recorded
 ORDER BY position;
