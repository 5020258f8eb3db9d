-- grain: one row per image stream, its newest uid
CREATE TABLE image_streams (
    namespace    VARCHAR   NOT NULL,
    image_stream VARCHAR   NOT NULL,
    uid          VARCHAR   NOT NULL,
    generation   BIGINT    NOT NULL,
    labels       MAP(VARCHAR, VARCHAR) NOT NULL,
    annotations  MAP(VARCHAR, VARCHAR) NOT NULL,
    lookup_local BOOLEAN   NOT NULL,
    created      TIMESTAMP NOT NULL,
    updated      TIMESTAMP NOT NULL,
    deleted      TIMESTAMP
);
