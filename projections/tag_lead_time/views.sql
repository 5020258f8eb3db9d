-- grain: one row per image and tag that ever pointed at it
-- needs: tag_changes
CREATE OR REPLACE VIEW tag_lead_time AS
WITH arrivals AS (
    SELECT image, namespace, image_stream, tag, min(since) AS arrived
      FROM tag_changes
     WHERE is_entry AND image <> ''
     GROUP BY ALL
)
SELECT image, namespace, image_stream, tag, min(arrived) OVER (PARTITION BY image) AS first_tagged, arrived,
       arrived - min(arrived) OVER (PARTITION BY image) AS lead
  FROM arrivals;
COMMENT ON VIEW tag_lead_time IS 'One row per image and tag that ever pointed at it: how long it took from its first tag to this one.';
COMMENT ON COLUMN tag_lead_time.image IS 'The image';
COMMENT ON COLUMN tag_lead_time.namespace IS 'Project of the tag';
COMMENT ON COLUMN tag_lead_time.image_stream IS 'Image stream of the tag';
COMMENT ON COLUMN tag_lead_time.tag IS 'The tag';
COMMENT ON COLUMN tag_lead_time.first_tagged IS 'When any tag first pointed at the image, UTC';
COMMENT ON COLUMN tag_lead_time.arrived IS 'When this tag first pointed at it, UTC';
COMMENT ON COLUMN tag_lead_time.lead IS 'The time between the two';
