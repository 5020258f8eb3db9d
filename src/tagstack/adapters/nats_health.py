"""Asks the server whether the log takes events, without storing one."""

from __future__ import annotations

import json
import uuid

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from tagstack.adapters.nats_streams import REQUEST_TIMEOUT_S
from tagstack.adapters.nats_subjects import EVENTS

_SUBJECT = f"{EVENTS}._._.probe"
_INSUFFICIENT_RESOURCES = 10023


async def no_room(nc: Client) -> str:
    """Return what the server says when it can't store events any more; "" when it can, or says nothing.

    The question is the beginning of a batch that never ends, which the server forgets after seconds.
    """
    headers = {"Nats-Batch-Id": uuid.uuid4().hex, "Nats-Batch-Sequence": "1"}
    try:
        answer = await nc.request(_SUBJECT, b"", timeout=REQUEST_TIMEOUT_S, headers=headers)
    except NoRespondersError:
        return "JetStream is disabled"
    except NatsError:
        return ""
    error = json.loads(answer.data or b"{}").get("error", {})
    return str(error["description"]) if error.get("err_code") == _INSUFFICIENT_RESOURCES else ""
