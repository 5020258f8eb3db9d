-- grain: one row per image
CREATE TABLE images (
    image        VARCHAR   NOT NULL,
    pull_spec    VARCHAR,
    media_type   VARCHAR,
    architecture VARCHAR,
    os           VARCHAR,
    created      TIMESTAMP,
    size         BIGINT,
    layers       INTEGER   NOT NULL,
    labels       MAP(VARCHAR, VARCHAR) NOT NULL,
    env          VARCHAR[] NOT NULL,
    entrypoint   VARCHAR[] NOT NULL,
    cmd          VARCHAR[] NOT NULL,
    config       JSON,
    first_seen   TIMESTAMP NOT NULL,
    position     UBIGINT   NOT NULL
);
