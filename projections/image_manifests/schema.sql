-- grain: one row per child of a manifest list
CREATE TABLE image_manifests (
    image        VARCHAR NOT NULL,
    child        VARCHAR NOT NULL,
    architecture VARCHAR,
    os           VARCHAR,
    variant      VARCHAR,
    size         BIGINT
);
