"""The SQL worker: analysts' statements from NATS, run by processes of their own on the newest snapshot."""

from __future__ import annotations

from nats.aio.client import Client
from prometheus_client import CollectorRegistry, Counter, Gauge

from tagstack.adapters.nats_sql import SqlIntake
from tagstack.adapters.sql_frames import RunnerOptions
from tagstack.adapters.sql_processes import SqlProcesses
from tagstack.application.grants import Grants
from tagstack.application.statements import Statements
from tagstack.apps import shell
from tagstack.apps.grants_file import read_grants
from tagstack.apps.settings import Settings


class SqlPart:
    """Answers `tagstack.sql.<actor>` while it is started."""

    def __init__(self, settings: Settings, grants: Grants, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._nc: Client | None = None
        self._intake: SqlIntake | None = None
        self._path = settings.snapshot
        self.processes = SqlProcesses(
            RunnerOptions(str(self._path), settings.sql_memory_mb, settings.sql_rows_max),
        )
        self._statements = Statements(self.processes, grants, settings.sql_timeout_s)
        self._ended = Counter(
            "tagstack_sql_statements", "Statements that ended, by outcome", ["outcome"], registry=registry
        )
        self._rows = Counter("tagstack_sql_rows", "Rows of whole answers", registry=registry)
        running = Gauge("tagstack_sql_in_flight", "Statements that run or wait", registry=registry)
        running.set_function(lambda: self._statements.in_flight)
        killed = Gauge("tagstack_sql_processes_killed", "Processes stopped in mid-statement", registry=registry)
        killed.set_function(lambda: self.processes.killed)

    async def start(self, nc: Client) -> None:
        """Begin to answer. Raises Unavailable where no process can be started."""
        await self.processes.start()
        self._nc = nc
        self._intake = SqlIntake(nc, self._statements, self._observe)
        await self._intake.start()

    async def stop(self) -> None:
        """Finish what is in flight within the shutdown bound, and end the processes."""
        if self._intake is not None:
            await self._intake.stop(self._settings.shutdown_timeout_s)
            self._intake = None
        await self.processes.stop()

    def why_not_ready(self) -> str:
        """Return what stands against answering now; '' where nothing does."""
        if self._intake is None or self._nc is None:
            return "the SQL worker has not started"
        if not self._nc.is_connected:
            return "the SQL worker has no connection to NATS"
        if self.processes.snapshot() is None:
            return f"there is no snapshot yet: {self._path}"
        return ""

    def _observe(self, outcome: str, rows: int) -> None:
        self._ended.labels(outcome).inc()
        self._rows.inc(rows)


def build(settings: Settings) -> shell.Worker:
    """Return the SQL worker, connected to nothing yet."""
    registry = CollectorRegistry()
    return shell.build("sql", settings, SqlPart(settings, read_grants(settings.grants), registry), registry)
