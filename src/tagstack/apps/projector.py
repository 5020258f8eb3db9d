"""The projector process: folds the log into DuckDB and renews the snapshots that readers open.

It answers on `tagstack.control.projector`: see `ProjectorPart.control`.
"""

from __future__ import annotations

import json
import sys

from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tagstack.adapters.duckdb_files import ReadModelFiles
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import ReadModel
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.duckdb_snapshots import DuckDBSnapshots, SnapshotLimits
from tagstack.adapters.nats_reader import LogSource, ReaderLimits
from tagstack.adapters.nats_streams import declare, log_position, settled
from tagstack.adapters.nats_subjects import REPLY_PREFIXES
from tagstack.adapters.nats_transport import Transport
from tagstack.application.projector import Projector
from tagstack.application.read_models import Observer, ProjectorOptions
from tagstack.apps import shell
from tagstack.apps.projections_folder import read_projections
from tagstack.apps.settings import Settings
from tagstack.apps.transports import open_transport
from tagstack.domain.errors import TagstackError

SWITCH_INTERVAL_S = 0.0005
DUCKDB_SHARE = 0.6  # of the process's memory; the rest: interpreter, messages, a look at each new snapshot
CONTROL = "tagstack.control.projector"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics(Observer):
    """What the projector counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.position = Gauge("tagstack_projector_position", "Position of the live read models", registry=registry)
        self.lag = Gauge("tagstack_projector_lag", "Positions the live read models are behind", registry=registry)
        self.dead = Gauge("tagstack_projector_dead_letters", "Messages that could not be read", registry=registry)
        self.unsorted = Gauge(
            "tagstack_projector_unsorted_events", "Events since the tables were last sorted", registry=registry
        )
        self.compacting = Gauge("tagstack_projector_compacting", "1 while a copy is being sorted", registry=registry)
        self.rebuilding = Gauge("tagstack_projector_rebuilding", "1 while a file is being built", registry=registry)
        self._events = Counter("tagstack_projector_events", "Events folded", registry=registry)
        self._refused = Counter(
            "tagstack_projector_snapshots_refused", "Snapshots withheld since a check complains", registry=registry
        )
        self._seconds = Histogram(
            "tagstack_projector_snapshot_seconds", "Publishing one snapshot", buckets=_SECONDS, registry=registry
        )

    def folded(self, events: int) -> None:
        """Some events are in the live read models."""
        self._events.inc(events)

    def published(self, seconds: float) -> None:
        """Readers see a new snapshot."""
        self._seconds.observe(seconds)

    def refused(self) -> None:
        """A snapshot was withheld, since a check complains."""
        self._refused.inc()


class ProjectorPart:
    """Everything the projector process does."""

    def __init__(self, settings: Settings, registry: CollectorRegistry, limits: SnapshotLimits | None = None) -> None:
        self._settings = settings
        self._models = read_projections(settings)
        self._metrics = Metrics(registry)
        self._limits = limits or SnapshotLimits(kept_max=settings.snapshots_max)
        self._nc: Client | None = None
        self._transport: Transport | None = None
        self.projector: Projector[ReadModelFile] | None = None

    async def start(self, nc: Client) -> None:
        """Open the read models, publish a snapshot, follow the log, and answer on the control subject."""
        self._nc = nc
        await declare(nc, self._settings.replicas)
        projector = _projector(self._models, self._settings, self._limits, self._metrics)
        self._metrics.position.set_function(lambda: projector.position)
        self._metrics.lag.set_function(lambda: max(projector.log_position - projector.position, 0))
        self._metrics.dead.set_function(lambda: projector.dead_letters)
        self._metrics.unsorted.set_function(lambda: projector.unsorted)
        self._metrics.compacting.set_function(lambda: projector.compacting)
        self._metrics.rebuilding.set_function(lambda: projector.rebuilding)
        self._transport = await open_transport(nc, self._settings, "projector")
        limits = ReaderLimits(messages=self._settings.batch_events_max)
        await projector.start(LogSource(nc, limits, self._transport))
        self.projector = projector
        await nc.subscribe(CONTROL, cb=self._asked)
        await settled(nc)  # ready means that the server knows our subscription

    async def stop(self) -> None:
        """Finish the batch in hand and close the files."""
        if self.projector is not None:
            await self.projector.stop()
        if self._transport is not None:
            await self._transport.close()

    def why_not_ready(self) -> str:
        """Return "" when readers see what the log says, but for a moment's lag."""
        return self.projector.why_not_ready() if self.projector else "projector: not started"

    async def control(self, body: bytes) -> bytes:
        """Answer a request on the control subject with the state as JSON.

        The request is `{}`, or `{"rebuild": true}`, or `{"check": true}`; the answer

        `{"position", "log", "lag", "snapshot", "readModels": [{"name", "position"}], "rebuilding":
        {"position", "log", "sorting", "sorted"} | null, "unsorted", "compacting", "compactionWaits",
        "deadLetters", "complaints": [{"readModel", "complaint", "detail"}], "trouble"}`.

        `position` is the live read models', `snapshot` what readers see. `rebuild` begins a rebuild beside them
        unless one is running, and answers at once; ask again for its progress; `sorting` names the table that is
        being sorted at its end, `sorted` how much of it is. `unsorted` counts the events since the tables were
        last sorted; `compacting` is as `rebuilding`, `compactionWaits` says why the last compaction was given up.
        `check` runs every check first.
        """
        assert self.projector is not None and self._nc is not None, "started before it is asked"
        try:
            request = json.loads(body or b"{}")
            if request.get("rebuild") is True:
                self.projector.rebuild()
            if request.get("check") is True:
                await self.projector.check()
            self.projector.log_position = max(self.projector.log_position, await log_position(self._nc))
        except (ValueError, AttributeError) as error:
            return json.dumps({"error": f"the body must be a JSON object: {error}"}).encode()
        except TagstackError as error:
            return json.dumps(self.projector.state() | {"trouble": str(error)}).encode()
        return json.dumps(self.projector.state()).encode()

    async def _asked(self, msg: Msg) -> None:
        if msg.reply.startswith(REPLY_PREFIXES):  # a reply to any other subject could be stored as an event
            await msg.respond(await self.control(msg.data))


def _projector(
    models: list[ReadModel], settings: Settings, limits: SnapshotLimits, observer: Observer
) -> Projector[ReadModelFile]:
    memory_mb = max(int(settings.projector_memory_mb * DUCKDB_SHARE), 1)
    options = ProjectorOptions(
        snapshot_interval_s=settings.snapshot_interval_ms / 1000,
        batch=settings.batch_events_max,
        built_batch=settings.built_batch_events_max,
        memory_mb=memory_mb,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        unsorted_events_max=settings.unsorted_events_max,
    )
    files = ReadModelFiles(settings.read_models, models, FileOptions(memory_mb=memory_mb))
    return Projector(files, DuckDBSnapshots(settings.live, limits), options, observer)


def build(settings: Settings) -> shell.Worker:
    """Return the projector, connected to nothing yet. Raises SettingsError for projections that can't be used."""
    # the thread that folds waits for the interpreter lock after each statement while the loop reads the log
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    registry = CollectorRegistry()
    return shell.build("projector", settings, ProjectorPart(settings, registry), registry)
