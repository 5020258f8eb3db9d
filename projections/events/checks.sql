-- grain: one row per complaint
SELECT 'events has a position beyond the checkpoint' AS complaint, max(position)::VARCHAR AS detail
  FROM events HAVING max(position) > (SELECT position FROM checkpoint);
