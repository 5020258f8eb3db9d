-- grain: words for analysts
COMMENT ON TABLE images IS 'One row per image. Its metadata never changes.';
COMMENT ON COLUMN images.image IS 'Digest, or a plain name';
COMMENT ON COLUMN images.pull_spec IS 'Where it was first said to be pulled from';
COMMENT ON COLUMN images.media_type IS 'Media type of its manifest';
COMMENT ON COLUMN images.architecture IS 'Architecture; null for a manifest list';
COMMENT ON COLUMN images.os IS 'Operating system';
COMMENT ON COLUMN images.created IS 'When it was built, UTC';
COMMENT ON COLUMN images.size IS 'Bytes';
COMMENT ON COLUMN images.layers IS 'How many layers it has';
COMMENT ON COLUMN images.labels IS 'Labels of its config';
COMMENT ON COLUMN images.env IS 'Environment of its config, NAME=value';
COMMENT ON COLUMN images.entrypoint IS 'Entrypoint of its config';
COMMENT ON COLUMN images.cmd IS 'Command of its config';
COMMENT ON COLUMN images.config IS 'The whole config';
COMMENT ON COLUMN images.first_seen IS 'When it was recorded, UTC';
COMMENT ON COLUMN images.position IS 'Log position of the event that recorded it';
