-- grain: words for analysts
COMMENT ON TABLE image_layers IS 'One row per occurrence of a layer in an image, in order; an image may hold a layer twice.';
COMMENT ON COLUMN image_layers.image IS 'The image';
COMMENT ON COLUMN image_layers.ordinal IS '1 is the first, as the image lists them';
COMMENT ON COLUMN image_layers.layer IS 'Digest of the layer';
COMMENT ON COLUMN image_layers.size IS 'Bytes';
COMMENT ON COLUMN image_layers.media_type IS 'Media type';
