"""The relations of the read models, seen by an analyst with DuckDB and by `tagstack.sql`."""

from __future__ import annotations

import duckdb
import pytest

from tests.contract.outside import Outside, digest

A, B = digest(1), digest(2)
STACK = (
    "namespace image_stream tag stack_position image pull_spec generation valid_from valid_to origin actor reason "
    "cause caused_by restores deleted position"
)
CURRENT = (
    "namespace image_stream tag image pull_spec generation since actor reason origin held_since held_by hold_reason "
    "moves position"
)
RELATIONS = {
    "events": "position time type namespace image_stream tag image previous_image pull_spec generation origin actor "
    "reason cause caused_by data",
    "current_tags": CURRENT,
    "tags_as_of('2030-01-01')": CURRENT,
    "tag_history": STACK,
    "tag_stack('a/b:c')": STACK,
    "rollbacks": f"{STACK} bad_image bad_for",
    "image_streams": "namespace image_stream uid generation labels annotations lookup_local created updated deleted",
    "images": "image pull_spec media_type architecture os created size layers labels env entrypoint cmd config "
    "first_seen position",
    "image_layers": "image ordinal layer size media_type",
    "image_manifests": "image child architecture os variant size",
    "where_used('sha256:0')": "namespace image_stream tag first last times held_for",
    "churn_per_day": "day namespace moves tags image_streams",
    "tag_lead_time": "image namespace image_stream tag first_tagged arrived lead",
}
TYPES = {
    **dict.fromkeys(("time", "since", "held_since", "valid_from", "valid_to", "deleted", "updated"), "TIMESTAMP"),
    **dict.fromkeys(("first_seen", "first", "last", "first_tagged", "arrived"), "TIMESTAMP"),
    **dict.fromkeys(("held_for", "bad_for", "lead"), "INTERVAL"),
    **dict.fromkeys(("env", "entrypoint", "cmd"), "VARCHAR[]"),
    **dict.fromkeys(("data", "config"), "JSON"),
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_has_the_columns_promised(outside: Outside, relation: str) -> None:
    """By name and in order, times as TIMESTAMP; any DuckDB opens the snapshot read-only."""
    with duckdb.connect(outside.up.endpoints["snapshot"], read_only=True) as snapshot:
        columns = snapshot.execute(f"DESCRIBE FROM {relation}").fetchall()
    assert [name for name, *_ in columns] == RELATIONS[relation].split()
    assert {name: kind for name, kind, *_ in columns if name in TYPES} == {
        name: TYPES[name] for name in RELATIONS[relation].split() if name in TYPES
    }


def test_a_command_is_seen_by_the_sql_that_waits_for_it(outside: Outside) -> None:
    """`minPosition` includes the writer's own write; the SQL rows are those that the log tells."""
    for number in (1, 2):
        outside.push("an/own:x", number)
    outside.command("RollbackTag", "an/own:x")
    done = outside.command("DeleteImageStreamTag", "an/own:x", {"force": True})
    position = done["details"]["position"]
    assert outside.sql("FROM tag_stack('an/own:x')", position) == outside.stack("an/own:x")
    assert outside.sql("FROM current_tags WHERE image_stream = 'own'", position) == []


def test_the_past_is_seen_with_its_holds_and_pull_specs(outside: Outside) -> None:
    """`tags_as_of` and the query AsOf agree at every event, also after a delete."""
    outside.push("an/past:x", 1)
    outside.command("HoldTag", "an/past:x", Tagstack_Reason="freeze")
    outside.push("an/past:x", 2)
    outside.push("an/past:x", 1, pull_spec=f"other.example/a@{A}")
    outside.command("ReleaseTag", "an/past:x", {"advance": True})
    done = outside.command("DeleteImageStream", "an/past")["details"]["position"]
    events = outside.events("image_stream = 'past' AND namespace = 'an'", done)
    seen = []
    for event in events:
        time = event["time"]
        rows = outside.sql(f"FROM tags_as_of('{time}') WHERE image_stream = 'past'", done)
        assert rows == outside.query("AsOf", "an", "past", time=time)["items"]
        seen += [(row["image"], row["held_by"], row["hold_reason"]) for row in rows]
    assert (A, "bob", "freeze") in seen and rows == []


def test_the_analysts_views_tell_what_came_back_and_where_an_image_was(outside: Outside) -> None:
    """`rollbacks` names the bad image, `where_used` takes a prefix, a lead time is that of the first arrival."""
    bad = digest(0xABCDEF01)
    number = 0xABCDEF01
    outside.push("an/back:x", 1)
    outside.push("an/back:x", number)
    outside.command("RollbackTag", "an/back:x")
    outside.command("PromoteTag", "an/back2:y", {"from": {"namespace": "an", "name": "back:x"}})
    outside.push("an/back2:y", number)
    done = outside.push("an/back2:y", 1)["details"]["position"]
    rows = outside.sql("FROM rollbacks WHERE image_stream LIKE 'back%' ORDER BY position", done)
    assert [(row["origin"], row["bad_image"]) for row in rows] == [("rollback", bad), ("mapping", bad)]
    used = outside.sql(f"FROM where_used('{bad}') ORDER BY image_stream", done)
    assert [(row["image_stream"], row["tag"], row["times"]) for row in used] == [("back", "x", 1), ("back2", "y", 1)]
    leads = outside.sql(f"FROM tag_lead_time WHERE image = '{bad}' ORDER BY arrived", done)
    assert [row["image_stream"] for row in leads] == ["back", "back2"]
    assert leads[0]["first_tagged"] == leads[1]["first_tagged"] == leads[0]["arrived"] < leads[1]["arrived"]
