-- grain: one row per event of the log, append-only; beside it the checkpoint and what could not be read
-- zstd: where few values repeat, what DuckDB would choose (DICT_FSST) takes twice the room and more time to write
CREATE TABLE events (
    position       UBIGINT   NOT NULL,
    time           TIMESTAMP NOT NULL,
    type           VARCHAR   NOT NULL,
    namespace      VARCHAR,
    image_stream   VARCHAR,
    tag            VARCHAR,
    image          VARCHAR,
    previous_image VARCHAR,
    pull_spec      VARCHAR USING COMPRESSION zstd,
    generation     BIGINT,
    origin         VARCHAR   NOT NULL,
    actor          VARCHAR   NOT NULL,
    reason         VARCHAR   NOT NULL,
    cause          VARCHAR   NOT NULL USING COMPRESSION zstd,
    caused_by      UBIGINT,
    data           JSON      NOT NULL USING COMPRESSION zstd
);

-- grain: one row; moves in the same transaction as every read model
CREATE TABLE checkpoint (
    position        UBIGINT NOT NULL,
    log             VARCHAR NOT NULL,
    event_id        VARCHAR NOT NULL,
    sorted_position UBIGINT NOT NULL
);
INSERT INTO checkpoint VALUES (0, '', '', 0);

-- grain: one row per message of the log that could not be read as an event
CREATE TABLE dead_letters (
    position UBIGINT   NOT NULL,
    subject  VARCHAR   NOT NULL,
    payload  VARCHAR   NOT NULL,
    error    VARCHAR   NOT NULL
);
