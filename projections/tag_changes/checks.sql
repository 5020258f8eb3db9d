-- grain: one row per complaint
-- needs: events
SELECT 'tag_changes is not in the order of the log' AS complaint, max(position)::VARCHAR AS detail
  FROM tag_changes HAVING max(position) > (SELECT position FROM checkpoint);
