-- grain: one row per event that moves, deletes, holds or releases a tag, with the tag's state after it
-- sorted: tag_changes by namespace, image_stream, tag, position
CREATE TABLE tag_changes (
    namespace      VARCHAR   NOT NULL,
    image_stream   VARCHAR   NOT NULL,
    tag            VARCHAR   NOT NULL,
    position       UBIGINT   NOT NULL,
    time           TIMESTAMP NOT NULL,
    type           VARCHAR   NOT NULL,
    is_entry       BOOLEAN   NOT NULL,   -- it puts a new entry on top of the history stack
    entry_position UBIGINT,              -- position of the event that made the top entry
    image          VARCHAR,
    pull_spec      VARCHAR USING COMPRESSION zstd,  -- see events
    generation     BIGINT,
    since          TIMESTAMP,
    origin         VARCHAR,
    actor          VARCHAR,
    reason         VARCHAR,
    cause          VARCHAR USING COMPRESSION zstd,
    caused_by      UBIGINT,
    restores       UBIGINT,
    held_since     TIMESTAMP,
    held_by        VARCHAR,
    hold_reason    VARCHAR
);
