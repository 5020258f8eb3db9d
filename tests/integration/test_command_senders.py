"""Who sends a command, under which names and ids, and where the reply may go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nats.errors import TimeoutError as NatsTimeout

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tests.examples_nats import ask, client_of, log_of, mapping, run, send, stored_in, worker

PUSH = json.dumps(mapping("api", 1)).encode()


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
            answer = await send(client, "system%3Aserviceaccount%3Aci%3Abot%40x%2Ey.prod.api", PUSH)
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
            await client.publish("tagstack.commands.me.prod.api", PUSH, reply=reply)
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
            assert (await send(ann, "ann.prod.api", PUSH))["status"] == "Success"
            with pytest.raises(NatsTimeout):
                await ann.request("tagstack.commands.bob.prod.api", PUSH, timeout=0.2)
            await ann.publish("tagstack.commands.ann.prod.web", PUSH, reply="tagstack.events.prod.api.stream")
            await ann.flush()
            assert [record.body["actor"] for record in await log_of(inside)] == ["ann", "ann"]

    server = NatsServer(tmp_path / "nats", ServerOptions(extra=ACCOUNTS)).start()
    try:
        run(lambda: scenario(server.url))
    finally:
        server.stop()
