-- grain: one row per image recorded in the batch
-- folds: image_recorded
INSERT INTO images
SELECT image, r.dockerImageReference, r.dockerImageManifestMediaType, m.Architecture, m.Os,
       try_cast(m.Created AS TIMESTAMPTZ) AT TIME ZONE 'UTC',
       try_cast(m.Size AS BIGINT),
       coalesce(len(r.dockerImageLayers), 0),
       coalesce(try_cast(c.Labels AS MAP(VARCHAR, VARCHAR)), MAP {}),
       coalesce(try_cast(c.Env AS VARCHAR[]), []),
       coalesce(try_cast(c.Entrypoint AS VARCHAR[]), []),
       coalesce(try_cast(c.Cmd AS VARCHAR[]), []),
       m.Config, time, position
  FROM (SELECT image, recorded AS r, recorded.dockerImageMetadata AS m, time, position,
               json_transform(recorded.dockerImageMetadata.Config,
                              '{"Labels": "JSON", "Env": "JSON", "Entrypoint": "JSON", "Cmd": "JSON"}') AS c
          FROM batch WHERE type = 'image_recorded');
