"""The command worker: decides commands, answers queries, works the queue off, moves followers."""

from __future__ import annotations

import logging
import time
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate

from nats.aio.client import Client
from prometheus_client import CollectorRegistry, Gauge, Histogram, Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tagstack.adapters.nats_followers import FollowerFeed
from tagstack.adapters.nats_intake import CommandIntake
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_own_events import OwnEvents
from tagstack.adapters.nats_queries import QueryIntake
from tagstack.adapters.nats_queue import QueueIntake
from tagstack.adapters.nats_streams import declare, settled
from tagstack.adapters.nats_tags import TagsKeeper
from tagstack.adapters.nats_transport import Transport
from tagstack.application.followers import Followers
from tagstack.application.handler import CommandHandler, Limits, Surroundings
from tagstack.application.ports import Request
from tagstack.application.queries import Queries
from tagstack.application.replies import INTERNAL_ERROR, Outcome
from tagstack.apps import shell
from tagstack.apps.grants_file import read_grants
from tagstack.apps.settings import SYNC_ALWAYS, Settings
from tagstack.apps.transports import open_transport
from tagstack.domain.errors import Refused, TagstackError, TooManyRequests
from tagstack.domain.times import text_of

_log = logging.getLogger(__name__)


def now() -> str:
    """Return the present moment as events write it."""
    return text_of(datetime.now(UTC))


class Answered(Collector):
    """Counts commands by what became of them, and by how long they took.

    All of it in one thread: the locks of a Counter and a Histogram would cost as much as reading a command.
    """

    def __init__(self) -> None:
        self._results: Counter[str] = Counter()
        self._within = [0] * len(Histogram.DEFAULT_BUCKETS)
        self._seconds = 0.0

    def count(self, result: str) -> None:
        """Count a command by what became of it."""
        self._results[result] += 1

    def observe(self, seconds: float) -> None:
        """Note how long a command took, from its arrival to the stored answer."""
        self._within[bisect_left(Histogram.DEFAULT_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as prometheus_client asks for it."""
        results = CounterMetricFamily(
            "tagstack_commands", "Commands answered, by what became of them", labels=["result"]
        )
        for result, count in self._results.items():
            results.add_metric([result], count)
        yield results
        up_to = zip(map(floatToGoString, Histogram.DEFAULT_BUCKETS), accumulate(self._within), strict=True)
        yield HistogramMetricFamily(
            "tagstack_command_seconds", "From arrival to the stored answer", list(up_to), self._seconds
        )


class Metrics:
    """What the command worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answered = Answered()
        registry.register(self.answered)
        self.in_flight = Gauge("tagstack_commands_in_flight", "Commands being carried out", registry=registry)
        self.handed_on = Gauge("tagstack_commands_handed_on", "Commands left to the owning worker", registry=registry)
        self.followed = Gauge("tagstack_followers_moved", "Moves of tags that follow another", registry=registry)
        self.not_followed = Gauge("tagstack_followers_refused", "Such moves that a rule forbids", registry=registry)
        self.dead = Gauge("tagstack_queue_dead_letters", "Dead letters this worker has written", registry=registry)


class CommandsPart:
    """Everything the command worker does."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._metrics = Metrics(registry)
        self._handler: CommandHandler | None = None
        self._feed: FollowerFeed | None = None
        self._intake: CommandIntake | None = None
        self._tags: TagsKeeper | None = None
        self._transports: list[Transport] = []
        self.queue = QueueIntake(self.handle)
        self._metrics.in_flight.set_function(lambda: self._handler.in_flight if self._handler else 0)
        self._metrics.handed_on.set_function(lambda: self._intake.handed_on if self._intake else 0)
        self._metrics.dead.set_function(lambda: self.queue.dead_letters)

    async def start(self, nc: Client) -> None:
        """Declare the streams and begin to take commands and queries."""
        await declare(nc, self._settings.replicas)
        commands = await self._open(nc, "commands")
        acks = await self._open(nc, "commands-log")  # of its own, else they wait behind the commands of a flood
        self._tags = await TagsKeeper(nc, self._settings.replicas, self.forget, acks).start()
        own = OwnEvents(acks)
        log = await NatsLog(nc, acks, grouped=self._settings.sync_interval == SYNC_ALWAYS, tell=own.stored).start()
        grants = read_grants(self._settings.grants)
        self._handler = CommandHandler(
            log,
            Surroundings(now, lambda: str(uuid.uuid4()), grants, self._settings.internal_registry),
            self._limits(),
        )
        await self.queue.start(nc)
        await QueryIntake(nc, Queries(log, grants, self._settings.internal_registry)).start()
        self._feed = FollowerFeed(nc, acks, self._follow_with(log, self._handler), own)
        await self._feed.start()
        self._intake = CommandIntake(commands, self.handle, self._settings.in_flight_max, self._refused)
        await self._intake.start()
        await commands.flush()  # ready means that the server knows our subscriptions
        await settled(nc)

    async def _open(self, nc: Client, name: str) -> Transport:
        transport = await open_transport(nc, self._settings, name, self.reconnected)
        self._transports.append(transport)
        return transport

    def _refused(self) -> None:
        self._metrics.answered.count(TooManyRequests.reason)

    def _limits(self) -> Limits:
        settings = self._settings
        # a leader of several replicas judges a chain's links before it has stored the ones before them
        together = Limits().together if settings.replicas == 1 else 1
        return Limits(in_flight=settings.in_flight_max, image_streams=settings.image_streams_max, together=together)

    def _follow_with(self, log: NatsLog, handler: CommandHandler) -> Followers:
        followers = Followers(log, handler.follow)
        self._metrics.followed.set_function(lambda: followers.moved)
        self._metrics.not_followed.set_function(lambda: followers.refused)
        return followers

    async def stop(self) -> None:
        """Take no more and finish what is in flight, within the bound for a shutdown."""
        self.queue.stop()
        if self._tags is not None:
            await self._tags.stop()
        if self._feed is not None:
            await self._feed.stop()
        if self._intake is not None:
            await self._intake.stop(self._settings.shutdown_timeout_s)
        for transport in self._transports:
            await transport.close()

    def why_not_ready(self) -> str:
        """Return "" when commands are taken."""
        if self._intake is None:
            return "commands: not started"
        connected = all(transport.is_connected for transport in self._transports)
        return "" if connected else "commands: not connected to NATS"

    async def reconnected(self) -> None:
        """Forget every cached state: the log may have lost its tail meanwhile."""
        _log.warning("commands: connected again")
        self.forget()
        if self._tags is not None:
            self._tags.reconnected()

    def forget(self) -> None:
        """Forget what was read from a log that may have been another one."""
        if self._handler is not None:
            self._handler.forget()
        if self._feed is not None:
            self._feed.forget()

    async def handle(self, request: Request) -> Outcome:
        """Carry out one request and count it."""
        assert self._handler is not None, "started before its intakes"
        began = time.perf_counter()
        result = "unavailable"
        try:
            done = await self._handler.handle(request)
            result = "changed" if done.changed else "unchanged"
            return done
        except Refused as error:
            result = error.reason
            raise
        except TagstackError:
            raise
        except Exception:
            result = INTERNAL_ERROR
            raise
        finally:
            self._metrics.answered.count(result)
            self._metrics.answered.observe(time.perf_counter() - began)


def build(settings: Settings) -> shell.Worker:
    """Return the command worker, connected to nothing yet."""
    registry = CollectorRegistry()
    part = CommandsPart(settings, registry)
    worker = shell.build("commands", settings, part, registry, reconnected_cb=part.reconnected)
    part.queue.register(worker.broker)
    return worker
