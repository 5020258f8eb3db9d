-- grain: words for analysts
COMMENT ON TABLE current_tags IS 'One row per tag that points at an image now. Times are UTC.';
COMMENT ON COLUMN current_tags.namespace IS 'Project';
COMMENT ON COLUMN current_tags.image_stream IS 'Image stream';
COMMENT ON COLUMN current_tags.tag IS 'Tag';
COMMENT ON COLUMN current_tags.image IS 'Digest (or plain name) of the image the tag points at';
COMMENT ON COLUMN current_tags.pull_spec IS 'Where the image can be pulled from';
COMMENT ON COLUMN current_tags.generation IS 'Generation of the image stream when the tag moved';
COMMENT ON COLUMN current_tags.since IS 'Since when it points there, UTC';
COMMENT ON COLUMN current_tags.actor IS 'Who moved it there';
COMMENT ON COLUMN current_tags.reason IS 'Why';
COMMENT ON COLUMN current_tags.origin IS 'mapping, tag, alias, rollback, release, promote or import';
COMMENT ON COLUMN current_tags.held_since IS 'Since when the tag is held, UTC; null: it is not';
COMMENT ON COLUMN current_tags.held_by IS 'Who holds it';
COMMENT ON COLUMN current_tags.hold_reason IS 'Why it is held';
COMMENT ON COLUMN current_tags.moves IS 'How many entries the history stack of the tag has';
COMMENT ON COLUMN current_tags.position IS 'Log position of the event that put the image there';
COMMENT ON TABLE tag_moves IS 'How often each tag moved, deletes survived';
