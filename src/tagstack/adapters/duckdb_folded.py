"""The tables and views that folded rows are compared in, and how both sides are put into one form.

What derives from other relations is derived here, too, in another way than `projections/` has it: by joins
over numbered entries, where the views of analysts use windows.
"""

from __future__ import annotations

# rows that Python folds
TABLES = """
CREATE TABLE events (position BIGINT, time TIMESTAMP, type VARCHAR, body VARCHAR, namespace VARCHAR,
    image_stream VARCHAR, tag VARCHAR, image VARCHAR, previous_image VARCHAR, pull_spec VARCHAR, generation BIGINT,
    origin VARCHAR, actor VARCHAR, reason VARCHAR, cause VARCHAR, caused_by BIGINT);
CREATE TABLE dead_letters (position BIGINT, subject VARCHAR, payload VARCHAR);
CREATE TABLE checkpoint (position BIGINT, log VARCHAR, event_id VARCHAR);
CREATE TABLE current_tags (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, image VARCHAR, pull_spec VARCHAR,
    generation BIGINT, since TIMESTAMP, actor VARCHAR, reason VARCHAR, origin VARCHAR, held_since TIMESTAMP,
    held_by VARCHAR, hold_reason VARCHAR, moves BIGINT, position BIGINT);
CREATE TABLE tags_as_of AS FROM current_tags;
CREATE TABLE entries (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, number BIGINT, image VARCHAR,
    pull_spec VARCHAR, generation BIGINT, valid_from TIMESTAMP, valid_to TIMESTAMP, origin VARCHAR, actor VARCHAR,
    reason VARCHAR, cause VARCHAR, caused_by BIGINT, restores BIGINT, position BIGINT);
CREATE TABLE stacks (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, moves BIGINT, deleted TIMESTAMP);
CREATE TABLE tag_changes (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, position BIGINT, time TIMESTAMP,
    type VARCHAR, is_entry BOOLEAN, entry_position BIGINT, image VARCHAR, pull_spec VARCHAR, generation BIGINT,
    since TIMESTAMP, origin VARCHAR, actor VARCHAR, reason VARCHAR, cause VARCHAR, caused_by BIGINT, restores BIGINT,
    held_since TIMESTAMP, held_by VARCHAR, hold_reason VARCHAR);
CREATE TABLE holds (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, image VARCHAR, held_from TIMESTAMP,
    held_to TIMESTAMP, actor VARCHAR, reason VARCHAR);
CREATE TABLE image_streams (namespace VARCHAR, image_stream VARCHAR, uid VARCHAR, generation BIGINT, labels VARCHAR,
    annotations VARCHAR, lookup_local BOOLEAN, created TIMESTAMP, updated TIMESTAMP, deleted TIMESTAMP);
CREATE TABLE recorded (image VARCHAR, pull_spec VARCHAR, media_type VARCHAR, architecture VARCHAR, os VARCHAR,
    created TIMESTAMPTZ, size BIGINT, layers BIGINT, labels VARCHAR, env VARCHAR, entrypoint VARCHAR, cmd VARCHAR,
    config VARCHAR, first_seen TIMESTAMP, position BIGINT);
CREATE TABLE image_layers (image VARCHAR, ordinal BIGINT, layer VARCHAR, size BIGINT, media_type VARCHAR);
CREATE TABLE image_manifests (image VARCHAR, child VARCHAR, architecture VARCHAR, os VARCHAR, variant VARCHAR,
    size BIGINT);
"""

_PAIRS = "to_json(list_sort(list_transform(map_entries({0}), lambda pair: [pair.key, pair.value])))::VARCHAR"
_LABELS = _PAIRS.format("coalesce(try_cast(labels::JSON AS MAP(VARCHAR, VARCHAR)), MAP {})")
_WORDS = ", ".join(
    f"coalesce(try_cast({name}::JSON AS VARCHAR[]), []) AS {name}" for name in ("env", "entrypoint", "cmd")
)

# relations that derive from those rows
VIEWS = f"""
CREATE VIEW images AS
SELECT * REPLACE (created AT TIME ZONE 'UTC' AS created, {_LABELS} AS labels, {_WORDS},
                  json(config)::VARCHAR AS config)
  FROM recorded;
CREATE VIEW tag_moves AS SELECT * EXCLUDE (deleted) FROM stacks;
CREATE VIEW tag_history AS
SELECT e.* EXCLUDE (number), s.moves - e.number + 1 AS stack_position, s.deleted
  FROM entries e JOIN stacks s USING (namespace, image_stream, tag);
CREATE VIEW rollbacks AS
WITH first AS (
    SELECT namespace, image_stream, tag, image, min(number) AS number
      FROM entries WHERE image <> '' GROUP BY ALL
)
SELECT h.*, left_.image AS bad_image, left_.valid_to - left_.valid_from AS bad_for
  FROM entries e
  JOIN first f ON (f.namespace, f.image_stream, f.tag, f.image) = (e.namespace, e.image_stream, e.tag, e.image)
              AND f.number < e.number
  JOIN entries left_ ON (left_.namespace, left_.image_stream, left_.tag) = (e.namespace, e.image_stream, e.tag)
                    AND left_.number = e.number - 1 AND left_.image <> e.image
  JOIN tag_history h ON (h.namespace, h.image_stream, h.tag) = (e.namespace, e.image_stream, e.tag)
                    AND h.position = e.position;
CREATE VIEW churn_per_day AS
SELECT valid_from::DATE AS day, namespace, count(*) AS moves, count(DISTINCT image_stream || ':' || tag) AS tags,
       count(DISTINCT image_stream) AS image_streams
  FROM entries GROUP BY day, namespace;
CREATE VIEW tag_lead_time AS
WITH arrivals AS (
    SELECT image, namespace, image_stream, tag, min(valid_from) AS arrived FROM entries WHERE image <> '' GROUP BY ALL
), births AS (
    SELECT image, min(arrived) AS first_tagged FROM arrivals GROUP BY image
)
SELECT *, arrived - first_tagged AS lead FROM arrivals JOIN births USING (image);
CREATE MACRO tag_stack(ref_) AS TABLE
SELECT * FROM folded.tag_history WHERE namespace || '/' || image_stream || ':' || tag = ref_;
CREATE MACRO where_used(image_) AS TABLE
SELECT namespace, image_stream, tag, min(valid_from) AS first, max(valid_from) AS last, count(*) AS times
  FROM folded.entries
 WHERE starts_with(image, image_) OR (contains(image, ':') AND starts_with(split_part(image, ':', -1), image_))
 GROUP BY ALL;
"""  # noqa: S608 made of the constants above

# how a snapshot shows what Python folded under another name or type
SHOWN = {
    "body": "md5(data::VARCHAR)",
    "labels": _PAIRS.format("labels"),
    "annotations": _PAIRS.format("annotations"),
    "config": "json(config)::VARCHAR",
}

SAMPLES_MAX = 10  # of what macros are asked for
_TAGS = f"""
SELECT namespace || '/' || image_stream || ':' || tag FROM folded.stacks ORDER BY moves DESC, 1 LIMIT {SAMPLES_MAX}"""  # noqa: S608
_IMAGES = f"""
SELECT image FROM folded.entries WHERE image <> '' GROUP BY image ORDER BY count(*) DESC, image LIMIT {SAMPLES_MAX}"""  # noqa: S608
# macros, and what to ask them for
ASKED = {"tag_stack": _TAGS, "where_used": _IMAGES}
