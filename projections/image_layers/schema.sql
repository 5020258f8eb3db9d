-- grain: one row per occurrence of a layer in an image, in order
CREATE TABLE image_layers (
    image      VARCHAR NOT NULL,
    ordinal    INTEGER NOT NULL,
    layer      VARCHAR NOT NULL,
    size       BIGINT,
    media_type VARCHAR
);
