-- grain: one row per event of the batch
INSERT INTO events
SELECT position, time, type, namespace, image_stream, tag, image, previous_image, pull_spec,
       generation, origin, actor, reason, cause, caused_by, data
  FROM batch;
