-- grain: one schema; what the projector keeps of pushes, kept by statement triggers
CREATE TABLE events (position bigint PRIMARY KEY, data jsonb NOT NULL);
CREATE TABLE tag_changes (
    namespace text, image_stream text, tag text, position bigint, time timestamptz, is_entry boolean, image text,
    pull_spec text, generation bigint, since timestamptz, origin text, actor text, reason text, cause text
);
CREATE INDEX ON tag_changes (namespace, image_stream, tag, position DESC);
CREATE TABLE current_tags (
    namespace text, image_stream text, tag text, image text, pull_spec text, generation bigint, since timestamptz,
    actor text, reason text, origin text, moves bigint, position bigint, PRIMARY KEY (namespace, image_stream, tag)
);

CREATE FUNCTION keep_current_tags() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO current_tags AS known
    SELECT DISTINCT ON (namespace, image_stream, tag)
           namespace, image_stream, tag, image, pull_spec, generation, since, actor, reason, origin,
           count(*) FILTER (WHERE is_entry) OVER (PARTITION BY namespace, image_stream, tag), position
      FROM batch
     ORDER BY namespace, image_stream, tag, position DESC
    ON CONFLICT (namespace, image_stream, tag) DO UPDATE
       SET image = EXCLUDED.image, pull_spec = EXCLUDED.pull_spec, generation = EXCLUDED.generation,
           since = EXCLUDED.since, actor = EXCLUDED.actor, reason = EXCLUDED.reason, origin = EXCLUDED.origin,
           moves = known.moves + EXCLUDED.moves, position = EXCLUDED.position;
    RETURN NULL;
END $$;
CREATE TRIGGER fold AFTER INSERT ON tag_changes REFERENCING NEW TABLE AS batch
    FOR EACH STATEMENT EXECUTE FUNCTION keep_current_tags();

-- not used where somebody else has read the columns and copies them into tag_changes
CREATE FUNCTION read_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO tag_changes
    SELECT e.namespace, e."imageStream", e.tag, b.position, e.time, e.image IS DISTINCT FROM e."previousImage", e.image,
           e."pullSpec", e.generation, (e.head ->> 'since')::timestamptz, e.origin, e.actor, e.reason, e.cause
      FROM batch b, jsonb_to_record(b.data) AS e(
           type text, namespace text, "imageStream" text, tag text, time timestamptz, image text, "previousImage" text,
           "pullSpec" text, generation bigint, head jsonb, origin text, actor text, reason text, cause text)
     WHERE e.type = 'image_tagged';
    RETURN NULL;
END $$;
CREATE TRIGGER fold AFTER INSERT ON events REFERENCING NEW TABLE AS batch
    FOR EACH STATEMENT EXECUTE FUNCTION read_events();
