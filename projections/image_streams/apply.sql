-- grain: one row per image stream whose own state or spec changes in the batch
-- folds: image_stream_created, image_stream_updated, image_stream_deleted, tag_configured, tag_deleted
CREATE OR REPLACE TEMP TABLE restated AS
WITH changes AS (
    SELECT namespace, image_stream, uid, generation, time, position, type,
           CASE WHEN tag IS NULL THEN {'labels': labels, 'annotations': annotations, 'lookup_local': lookup_local,
                                       'created': created} END AS own
      FROM batch
     WHERE type IN ('image_stream_created', 'image_stream_updated', 'image_stream_deleted',
                    'tag_configured', 'tag_deleted')
    UNION ALL
    SELECT namespace, image_stream, uid, generation, updated, 0,
           CASE WHEN deleted IS NULL THEN 'image_stream_updated' ELSE 'image_stream_deleted' END,
           {'labels': labels, 'annotations': annotations, 'lookup_local': lookup_local, 'created': created}
      FROM image_streams s SEMI JOIN batch b
        ON s.namespace = b.namespace AND s.image_stream = b.image_stream
), newest AS (
    SELECT namespace, image_stream, arg_max(uid, position) AS uid, arg_max(own, position) FILTER (own IS NOT NULL) AS own,
           arg_max({'type': type, 'time': time}, position) FILTER (own IS NOT NULL) AS said, max(time) AS updated
      FROM changes GROUP BY ALL
)
SELECT n.namespace, n.image_stream, n.uid,
       (SELECT max(c.generation) FROM changes c
         WHERE c.namespace = n.namespace AND c.image_stream = n.image_stream AND c.uid = n.uid) AS generation,
       n.own.labels, n.own.annotations, n.own.lookup_local, n.own.created, n.updated,
       CASE WHEN n.said.type = 'image_stream_deleted' THEN n.said.time END AS deleted
  FROM newest n WHERE n.own IS NOT NULL;

DELETE FROM image_streams s USING restated r
 WHERE s.namespace = r.namespace AND s.image_stream = r.image_stream;
INSERT INTO image_streams FROM restated;
