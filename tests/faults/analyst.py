"""An analyst who asks SQL over NATS while everything breaks, and knows the right answer beforehand."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from unittest.mock import patch

from tagstack.adapters import nats_sql_client
from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_sql_client import Question, SqlAnswer
from tagstack.domain.errors import TagstackError
from tests.examples_nats import until
from tests.faults.record import SETTLE_TIMEOUT_S, Sender

SQL_TIMEOUT_S = 3.0  # the worker's: for a process, for the statement and for `minPosition`, each
PIECE_TIMEOUT_S = 12.0  # the client's: past the worker's own
QUESTION_TIMEOUT_S = 3 * PIECE_TIMEOUT_S  # past every timeout of client and worker: whoever still waits hangs
CAUSE = "SELECT cause FROM events WHERE position = ?"


class Analyst:
    """Asks for what a client was told is stored: the answer must have it, or say in words why there is none."""

    def __init__(self, url: str, senders: list[Sender], dice: random.Random) -> None:
        self._url = url
        self._senders = senders
        self._dice = dice
        self._stopped = False
        self.right = 0
        self.refused = 0
        self.trouble: list[str] = []

    async def work(self) -> None:
        """Ask until stopped; the last question is brought to its end too."""
        with patch.object(nats_sql_client, "PIECE_TIMEOUT_S", PIECE_TIMEOUT_S):
            while not self._stopped:
                await self._ask()
                await asyncio.sleep(0.05)

    async def settle(self, task: asyncio.Task[None]) -> None:
        """Stop, and see that in the end the newest answers are right again."""
        self._stopped = True
        await task
        before = self.right

        async def right() -> bool:
            await self._ask()
            return self.right > before or bool(self.trouble)

        with suppress(TimeoutError):
            await until(right, SETTLE_TIMEOUT_S)
        assert self.trouble == []
        assert self.right > before, "SQL is not answered again"

    async def _ask(self) -> None:
        told = [
            (command.answer["details"]["position"], command.command_id)
            for sender in self._senders
            for command in sender.record[-20:]
            if command.answer and command.answer["status"] == "Success" and command.answer["details"]["changed"]
        ]
        if not told:
            return
        position, command_id = self._dice.choice(told)
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT_S):
                reached, rows = await self._answer(position)
        except TimeoutError:
            self.trouble.append(f"no answer, and no error, within {QUESTION_TIMEOUT_S:g} s")
        except TagstackError as error:
            self.refused += 1
            if not str(error):
                self.trouble.append(f"refused without a word: {error!r}")
        else:
            self.right += 1
            if rows != [[command_id]] or reached < position:
                self.trouble.append(f"at {position} is {command_id}; SQL that stands at {reached} says {rows}")

    async def _answer(self, position: int) -> tuple[int, list[list[str]]]:
        question = Question(CAUSE, [position], min_position=position)
        async with ServiceClient(self._url, "ana") as client, SqlAnswer(client, question) as answer:
            return answer.position, [row async for row in answer.rows()]
