"""Commands that can't be read or are too large: each gets a Status, stores nothing, and harms no other."""

from __future__ import annotations

import json

from nats.errors import TimeoutError as NatsTimeout

from tests.examples_nats import ask, client_of, log_of, mapping, run, send, stored_in, worker

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
