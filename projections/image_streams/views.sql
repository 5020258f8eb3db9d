-- grain: words for analysts
COMMENT ON TABLE image_streams IS 'One row per image stream, deleted ones included. Times are UTC.';
COMMENT ON COLUMN image_streams.namespace IS 'Project';
COMMENT ON COLUMN image_streams.image_stream IS 'Image stream';
COMMENT ON COLUMN image_streams.uid IS 'Identity; a re-created image stream has a new one';
COMMENT ON COLUMN image_streams.generation IS '1 at creation, one more per change of the spec';
COMMENT ON COLUMN image_streams.labels IS 'Labels';
COMMENT ON COLUMN image_streams.annotations IS 'Annotations';
COMMENT ON COLUMN image_streams.lookup_local IS 'Whether bare names in the project resolve to it';
COMMENT ON COLUMN image_streams.created IS 'When it was created, UTC';
COMMENT ON COLUMN image_streams.updated IS 'When its metadata or spec last changed, UTC';
COMMENT ON COLUMN image_streams.deleted IS 'When it was deleted, UTC; null: it exists';
