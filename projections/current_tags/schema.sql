-- grain: one row per tag that points at an image now
-- sorted: current_tags by namespace, image_stream, tag
CREATE TABLE current_tags (
    namespace    VARCHAR   NOT NULL,
    image_stream VARCHAR   NOT NULL,
    tag          VARCHAR   NOT NULL,
    image        VARCHAR   NOT NULL,
    pull_spec    VARCHAR   NOT NULL,
    generation   BIGINT    NOT NULL,
    since        TIMESTAMP NOT NULL,
    actor        VARCHAR   NOT NULL,
    reason       VARCHAR   NOT NULL,
    origin       VARCHAR   NOT NULL,
    held_since   TIMESTAMP,
    held_by      VARCHAR,
    hold_reason  VARCHAR,
    moves        BIGINT    NOT NULL,
    position     UBIGINT   NOT NULL
);

-- grain: one row per tag that ever had an entry; how often it moved, deletes included
CREATE TABLE tag_moves (
    namespace    VARCHAR NOT NULL,
    image_stream VARCHAR NOT NULL,
    tag          VARCHAR NOT NULL,
    moves        BIGINT  NOT NULL
);
