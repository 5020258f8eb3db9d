"""Commands by request/reply: what is answered when, how events are stored, and what bad input leads to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from tagstack.adapters import nats_queries
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.application import handler
from tagstack.apps.commands import CommandsPart
from tagstack.domain.image_stream import ImageStream
from tests.examples_nats import (
    WAIT_S,
    ask,
    check_chain,
    client_of,
    digest,
    log_of,
    mapping,
    run,
    send,
    stored_in,
    until,
    worker,
)

PLAIN_PROGRAM = """
import asyncio, json, sys, nats
async def main():
    nc = await nats.connect(sys.argv[1])
    image = {"metadata": {"name": "sha256:" + "a" * 64}, "dockerImageReference": "r.example/prod/api:1"}
    body = {"kind": "ImageStreamMapping", "metadata": {"name": "api"}, "image": image, "tag": "latest"}
    reply = await nc.request("tagstack.commands.ci.prod.api", json.dumps(body).encode(), timeout=10)
    print(reply.data.decode())
    await nc.close()
asyncio.run(main())
assert not any(name.startswith("tagstack") for name in sys.modules)
"""


def test_a_program_without_our_library_gets_a_status(nats_url: str) -> None:
    """Ten lines of nats-py push an image and read the Status reply."""

    async def scenario() -> None:
        async with worker(nats_url):
            command = [sys.executable, "-I", "-c", PLAIN_PROGRAM, nats_url]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout)
            assert (answer["kind"], answer["status"]) == ("Status", "Success")
            move = {"tag": "latest", "image": "sha256:" + "a" * 64, "previousImage": None}
            assert answer["details"]["moves"] == [move]
            assert answer["details"]["changed"] is True

    run(scenario)


def test_the_reply_comes_only_after_the_event_is_stored(nats_url: str) -> None:
    """The position in the reply can be read from the log at once, and holds the command's last event."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            for number in range(20):
                answer = await ask(client, "prod.api", mapping("api", number), {"Tagstack-Command-Id": f"c{number}"})
                last = (await log_of(client))[-1]
                assert (last.position, last.body["cause"]) == (answer["details"]["position"], f"c{number}")
                assert last.body["last"] is True

    run(scenario)


def test_events_are_cloud_events_named_after_their_command(nats_url: str) -> None:
    """`ce-id` is the message id, `<namespace>/<image_stream>/<command id>/<n>`; only the last event is `last`."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(
                client, "prod.api", mapping("api", 1), {"Tagstack-Command-Id": "build-7/x", "Tagstack-Reason": "é"}
            )
            created, tagged = await log_of(client)
            assert [created.body["type"], tagged.body["type"]] == ["image_stream_created", "image_tagged"]
            for n, record in enumerate((created, tagged), 1):
                headers, event = record.headers, record.body
                assert headers["ce-id"] == headers["Nats-Msg-Id"] == f"prod/api/build-7/x/{n}"
                assert headers["ce-type"] == f"dev.tagstack.{event['type']}"
                assert (headers["ce-specversion"], headers["ce-time"]) == ("1.0", event["time"])
                assert headers["ce-source"] and headers["content-type"] == "application/json"
                assert (event["cause"], event["actor"], event["reason"]) == ("build-7/x", "me", "é")
                assert event["last"] is (n == 2)
            assert tagged.subject == "tagstack.events.prod.api.tag.latest"

    run(scenario)


def test_an_image_event_carries_no_message_id(nats_url: str) -> None:
    """With the tag event's id on it the server would swallow the tag event as a duplicate."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1), {"Nats-Msg-Id": "m1"})
            [image] = await log_of(client, "tagstack.images.>")
            assert image.subject == f"tagstack.images.sha256.{1:064x}.recorded"
            assert "Nats-Msg-Id" not in image.headers
            tagged = (await log_of(client))[-1]
            assert tagged.body["cause"] == image.body["cause"] == "m1"
            assert image.headers["ce-id"] != tagged.headers["ce-id"]

    run(scenario)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("given", "kept"), [(TRACE, TRACE), ("", None), ("00-zz-1-01", None), (TRACE + "-x", None)])
def test_a_commands_trace_goes_on_in_its_events(nats_url: str, given: str, kept: str | None) -> None:
    """`traceparent` stands on every event of its command and on no other's; a broken one is ignored."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            asked = [
                ask(client, f"prod.s{n}", mapping(f"s{n}", n), {"traceparent": given} if n else {}) for n in (0, 1)
            ]
            await asyncio.gather(*asked)
            for record in await log_of(client, ">"):
                ours = record.body.get("imageStream", "") == "s1" or record.body.get("image") == digest(1)
                assert record.headers.get("traceparent") == (kept if ours else None)

    run(scenario)


def test_a_known_image_is_no_error_and_its_metadata_stays(nats_url: str) -> None:
    """A second mapping of an image, from a worker that never saw it, moves its tag and records nothing."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            for tag, architecture in (("one", "amd64"), ("two", "s390x")):
                command = mapping("api", 1, tag)
                command["image"]["dockerImageMetadata"] = {"Architecture": architecture}
                async with worker(nats_url):
                    assert (await ask(client, "prod.api", command))["details"]["changed"] is True
            [image] = await log_of(client, "tagstack.images.>")
            assert image.body["data"]["dockerImageMetadata"]["Architecture"] == "amd64"

    run(scenario)


def test_a_refused_command_leaves_no_event_of_an_image_stream(nats_url: str) -> None:
    """A refusal leaves the log as it was, an image_recorded at most."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            refused = await ask(client, "prod.api", mapping("api", 1, expectedImage=digest(2)))
            assert refused["reason"] == "Conflict"
            refused = await ask(client, "prod.api", mapping("api", 1), {"Tagstack-Create": "false"})
            assert refused["reason"] == "NotFound"
            assert await log_of(client) == []

    run(scenario)


def test_a_dry_run_stores_nothing(nats_url: str) -> None:
    """The reply says what would happen, and the log stays empty."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            answer = await ask(client, "prod.api", mapping("api", 1, dryRun=True))
            assert answer["details"]["moves"][0]["image"] == digest(1)
            assert answer["details"]["dryRun"] is True
            assert await stored_in(client, "TAGSTACK_EVENTS") == 0

    run(scenario)


VALID = json.dumps(mapping("api", 1)).encode()
NUL = json.dumps(mapping("api", 1) | {"tag": "a\0b"}).encode()
BAD: dict[str, tuple[str, bytes, dict[str, str], str]] = {
    "no JSON": ("me.prod.api", b"{", {}, "BadRequest"),
    "not UTF-8": ("me.prod.api", b'{"kind":"\xff"}', {}, "BadRequest"),
    "half a surrogate": ("me.prod.api", b'{"kind":"HoldTag","metadata":{"name":"api:\\ud800"}}', {}, "BadRequest"),
    "empty": ("me.prod.api", b"", {}, "BadRequest"),
    "a list": ("me.prod.api", b"[]", {}, "BadRequest"),
    "deeply nested": ("me.prod.api", b"[" * 100_000, {}, "BadRequest"),
    "an unknown kind": ("me.prod.api", b'{"kind":"Pod"}', {}, "BadRequest"),
    "a NUL in a tag": ("me.prod.api", NUL, {}, "Invalid"),
    "a lower-case escape": ("me.prod.a%2fb", VALID, {}, "BadRequest"),
    "an escaped plain letter": ("me.prod.%61pi", VALID, {}, "BadRequest"),
    "a broken escape": ("me.prod.api%2", VALID, {}, "BadRequest"),
    "an escape that is no UTF-8": ("%FF.prod.api", VALID, {}, "BadRequest"),
    "an unescaped byte": ("m+e.prod.api", VALID, {}, "BadRequest"),
    "an empty actor": ("%00.prod.api", VALID, {}, "BadRequest"),
    "an actor that is too long": ("a" * 254 + ".prod.api", VALID, {}, "BadRequest"),
    "a namespace in capitals": ("me.Prod.api", VALID, {}, "BadRequest"),
    "another namespace in the body": (
        "me.dev.api",
        json.dumps(mapping("api", 1) | {"metadata": {"name": "api", "namespace": "prod"}}).encode(),
        {},
        "BadRequest",
    ),
    "another image stream in the body": ("me.prod.web", VALID, {}, "BadRequest"),
    "images' address": ("me._._", VALID, {}, "BadRequest"),
    "an image at an image stream": (
        "me.prod.api",
        b'{"kind":"Image","metadata":{"name":"x"},"dockerImageReference":"a/b:c"}',
        {},
        "BadRequest",
    ),
    "a command id that is too long": ("me.prod.api", VALID, {"Tagstack-Command-Id": "x" * 513}, "BadRequest"),
    "a reason that is too long": ("me.prod.api", VALID, {"Tagstack-Reason": "é" * 2_049}, "BadRequest"),
    "sent at no time": ("me.prod.api", VALID, {"Tagstack-Sent": "yesterday"}, "BadRequest"),
    "sent in the year 1": ("me.prod.api", VALID, {"Tagstack-Sent": "0001-01-01T00:00:00+14:00"}, "BadRequest"),
    "sent long before computers": (
        "me.prod.api",
        VALID,
        {"Tagstack-Sent": "0700-01-01T00:00:00Z", "Nats-Msg-Id": "1"},
        "BadRequest",
    ),
    "sent in the year 9999": ("me.prod.api", VALID, {"Tagstack-Sent": "9999-12-31T23:59:59-14:00"}, "BadRequest"),
    "create maybe": ("me.prod.api", VALID, {"Tagstack-Create": "maybe"}, "BadRequest"),
    "to a time out of range": (
        "me.prod.api",
        b'{"kind":"RollbackTag","metadata":{"name":"api:latest"},"to":{"time":"0001-01-01T00:00:00+14:00"}}',
        {},
        "Invalid",
    ),
}


def test_bad_input_gets_a_status_and_the_worker_goes_on(nats_url: str) -> None:
    """Each malformed message is answered with its reason, stores nothing, and the next command is carried out."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            found = {}
            for name, (target, body, headers, _) in BAD.items():
                try:
                    answer = await send(client, target, body, headers)
                    found[name] = answer.get("reason", "accepted")
                    assert answer["status"] == "Success" or (answer["code"] >= 400 and answer["message"]), name
                except NatsTimeout:
                    found[name] = "no answer"
            assert found == {name: reason for name, (*_, reason) in BAD.items()}
            assert await stored_in(client, "TAGSTACK_EVENTS") == 0
            assert (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"

    run(scenario)


def test_every_fault_is_told_at_once(nats_url: str) -> None:
    """An Invalid names each field, rule and value."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            bad = {
                "kind": "ImageStreamMapping",
                "metadata": {"name": "api"},
                "image": {"metadata": {"name": "a b/c"}},
                "tag": ":",
            }
            answer = await ask(client, "prod.api", bad)
            assert (answer["reason"], answer["code"]) == ("Invalid", 422)
            assert len(answer["details"]["causes"]) >= 2
            for cause in answer["details"]["causes"]:
                assert cause["field"] and cause["reason"].startswith("FieldValue") and cause["message"]

    run(scenario)


def test_odd_but_legal_headers_are_kept(nats_url: str) -> None:
    """A command id of 512 characters, one with blanks and letters of any script, and a reason in UTF-8."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            ids = ["x" * 512, "größe 7 / ✓", "queue:7", "a.b>c*d"]
            for number, command_id in enumerate(ids):
                headers = {
                    "Tagstack-Command-Id": command_id,
                    "Tagstack-Reason": "größer ✓",
                    "Tagstack-Sent": "2026-01-01T10:00:00+02:00",
                }
                for _ in range(2):
                    answer = await ask(client, "prod.api", mapping("api", number), headers)
                    assert answer["details"]["changed"] is True, answer
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            assert [record.body["cause"] for record in tagged] == ids
            assert {record.body["reason"] for record in tagged} == {"größer ✓"}

    run(scenario)


def test_an_actor_is_any_name_in_its_canonical_spelling(nats_url: str) -> None:
    """`system:serviceaccount:ci:bot@x.y` is one token; events carry the name itself."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            answer = await send(client, "system%3Aserviceaccount%3Aci%3Abot%40x%2Ey.prod.api", VALID)
            assert answer["status"] == "Success"
            assert (await log_of(client))[-1].body["actor"] == "system:serviceaccount:ci:bot@x.y"
            assert (await log_of(client))[-1].body["tag"] == "latest"

    run(scenario)


@pytest.mark.parametrize("reply", ["tagstack.events.prod.api.stream", "tagstack.queue.a.b.c", "reply", ""])
def test_a_reply_goes_to_an_inbox_only(nats_url: str, reply: str) -> None:
    """A command whose reply subject could be the log's is not carried out, and nothing is sent there."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            heard = await client.subscribe(reply or "nothing")
            await client.publish("tagstack.commands.me.prod.api", VALID, reply=reply)
            assert (await ask(client, "prod.web", mapping("web", 1)))["status"] == "Success"
            await client.flush()
            assert heard.pending_msgs == 0
            assert {record.body["imageStream"] for record in await log_of(client)} == {"web"}
            assert await stored_in(client, "TAGSTACK_QUEUE") == 0

    run(scenario)


ACCOUNTS = """
accounts {
  LOG {
    users: [{user: worker, password: w}], jetstream: enabled
    exports: [{service: "tagstack.commands.>"}, {stream: "tagstack.changed.>"}]
  }
  PEOPLE {
    users: [{user: ann, password: a, permissions: {publish: ["tagstack.commands.ann.>"], subscribe: [">"]}}]
    imports: [
      {service: {account: LOG, subject: "tagstack.commands.>"}}
      {stream: {account: LOG, subject: "tagstack.changed.>"}}
    ]
  }
}
"""


def test_people_in_an_account_of_their_own_are_told_apart(tmp_path: Path) -> None:
    """Commands cross accounts (replies to `_R_`), the log does not; who sends as another gets no answer."""

    async def scenario(url: str) -> None:
        worker_url, ann_url = (url.replace("://", f"://{user}@") for user in ("worker:w", "ann:a"))
        async with worker(worker_url), client_of(ann_url) as ann, client_of(worker_url) as inside:
            assert (await send(ann, "ann.prod.api", VALID))["status"] == "Success"
            with pytest.raises(NatsTimeout):
                await ann.request("tagstack.commands.bob.prod.api", VALID, timeout=0.2)
            await ann.publish("tagstack.commands.ann.prod.web", VALID, reply="tagstack.events.prod.api.stream")
            await ann.flush()
            assert [record.body["actor"] for record in await log_of(inside)] == ["ann", "ann"]

    server = NatsServer(tmp_path / "nats", ServerOptions(extra=ACCOUNTS)).start()
    try:
        run(lambda: scenario(server.url))
    finally:
        server.stop()


def test_a_body_near_the_servers_limit(nats_url: str) -> None:
    """What fits into a message but not, with what we add, into the event is refused; the worker goes on."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            command = mapping("api", 1)
            command["image"]["dockerImageMetadata"] = {"Comment": ""}
            room = client.max_payload - len(json.dumps(command)) - 100
            command["image"]["dockerImageMetadata"]["Comment"] = "x" * room
            answer = await ask(client, "prod.api", command)
            assert (answer["reason"], answer["code"]) == ("RequestEntityTooLarge", 413)
            assert await log_of(client) == []
            command["image"]["dockerImageMetadata"]["Comment"] = "x" * (room - 10_000)
            assert (await ask(client, "prod.api", command))["status"] == "Success"

    run(scenario)


def test_a_bug_is_answered_and_the_worker_goes_on(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the command that meets it gets a 500, in words; the log has the error; those who waited with it are served.

    Seen to fail without the answer to what no rule foresees, and when a group failed with one of its members.
    """
    decide = handler.decide

    def stumble(command: Any, *rest: Any) -> Any:
        if command.tag == "stone":
            raise KeyError("no rule foresees this")
        return decide(command, *rest)

    monkeypatch.setattr(handler, "decide", stumble)

    async def scenario() -> None:
        async with worker(nats_url) as part, client_of(nats_url) as client:
            for number in (0, 1):  # pushes of images that are known go together
                await ask(client, "prod.api", mapping("api", number))
            tags = ["latest"] * 10 + ["stone"] + ["latest"] * 10
            asked = [ask(client, "prod.api", mapping("api", number % 2, tag)) for number, tag in enumerate(tags)]
            answers = await asyncio.gather(*asked)
            bug = answers.pop(10)
            assert (bug["status"], bug["reason"], bug["code"]) == ("Failure", "InternalError", 500)
            assert "KeyError" in bug["message"]
            assert {answer["status"] for answer in answers} == {"Success"}
            assert "no rule foresees this" in caplog.text
            assert in_flight(part) == 0
            check_chain(await log_of(client))

    run(scenario)


def test_a_bug_after_the_append_leaves_no_half_known_state(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before the bug is read from the log by the next command.

    Seen to fail when the state was kept as it was: the next event named the wrong previous image.
    """
    fold = handler._evolve

    def stumble(state: ImageStream, events: Any, position: int) -> None:
        state.position = position
        raise KeyError("half-way")

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            monkeypatch.setattr(handler, "_evolve", stumble)
            assert (await ask(client, "prod.api", mapping("api", 2)))["code"] == 500
            monkeypatch.setattr(handler, "_evolve", fold)
            await ask(client, "prod.api", mapping("api", 3))
            check_chain(await log_of(client))

    run(scenario)


def test_a_query_that_meets_a_bug_is_answered(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a 500, and the next one its answer."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            query = json.dumps({"kind": "ImageStreamTag", "name": "api:latest"}).encode()
            with monkeypatch.context() as patched:
                patched.setattr(nats_queries, "read_query", lambda _: 1 / 0)
                reply = await client.request("tagstack.queries.me.prod", query, timeout=WAIT_S)
            assert (json.loads(reply.data)["reason"], json.loads(reply.data)["code"]) == ("InternalError", 500)
            reply = await client.request("tagstack.queries.me.prod", query, timeout=WAIT_S)
            assert json.loads(reply.data)["kind"] == "ImageStreamTag"

    run(scenario)


async def flood(client: Client, count: int) -> list[dict[str, Any]]:
    """Send commands to as many image streams at once and return the replies."""
    return await asyncio.gather(*(ask(client, f"prod.s{n}", mapping(f"s{n}", n)) for n in range(count)))


def test_over_the_bound_of_commands_in_flight_the_answer_comes_at_once(nats_url: str) -> None:
    """What is over the bound is TooManyRequests with a hint when to retry; afterwards everything works as before."""

    async def scenario() -> None:
        async with worker(nats_url, in_flight_max=8) as part, client_of(nats_url) as client:
            answers = await flood(client, 200)
            refused = [answer for answer in answers if answer["status"] == "Failure"]
            assert 0 < len(refused) < 200
            for answer in refused:
                assert (answer["reason"], answer["code"]) == ("TooManyRequests", 429)
                assert answer["details"]["retryAfterSeconds"] >= 1
            assert in_flight(part) == 0
            for n in range(20):
                assert (await ask(client, "prod.s1", mapping("s1", 1_000 + n)))["status"] == "Success"

    run(scenario)


def in_flight(part: CommandsPart) -> int:
    """Return how many commands a worker is carrying out."""
    assert part._handler is not None
    return part._handler.in_flight


def test_many_large_batches_at_the_same_moment(nats_url: str) -> None:
    """The server takes 50 unfinished atomic batches at once; more of them wait for their turn and none is refused."""

    def image_stream(name: str) -> dict[str, Any]:
        source = {"kind": "DockerImage", "name": "r.example/a/b:c"}
        tags = [{"name": f"t{number}", "from": source} for number in range(300)]
        return {"kind": "ImageStream", "metadata": {"name": name}, "spec": {"tags": tags}}

    async def scenario() -> None:
        async with worker(nats_url), worker(nats_url), client_of(nats_url) as client:
            asked = [ask(client, f"prod.s{n}", image_stream(f"s{n}")) for n in range(120)]
            answers = await asyncio.gather(*asked)
            assert [answer for answer in answers if answer["status"] != "Success"] == []

    run(scenario)


def test_no_worker_no_answer(nats_url: str) -> None:
    """Without a worker the sender learns at once that nobody listens."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            with pytest.raises(NoRespondersError):
                await ask(client, "prod.api", mapping("api", 1))

    run(scenario)


def test_a_worker_that_stops_answers_what_it_has_taken(nats_url: str) -> None:
    """Every command that reached a worker before it was told to stop gets its reply."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                asked = asyncio.gather(*(ask(client, "prod.api", mapping("api", n)) for n in range(100)))
                await until(lambda: stored_in(client, "TAGSTACK_EVENTS"))
            assert {answer["status"] for answer in await asked} == {"Success"}

    run(scenario)
