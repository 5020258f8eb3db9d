-- grain: words for analysts
COMMENT ON TABLE image_manifests IS 'One row per child of a manifest list.';
COMMENT ON COLUMN image_manifests.image IS 'The manifest list';
COMMENT ON COLUMN image_manifests.child IS 'Digest of the child';
COMMENT ON COLUMN image_manifests.architecture IS 'Architecture of the child';
COMMENT ON COLUMN image_manifests.os IS 'Operating system of the child';
COMMENT ON COLUMN image_manifests.variant IS 'Variant of the architecture';
COMMENT ON COLUMN image_manifests.size IS 'Bytes of the manifest';
