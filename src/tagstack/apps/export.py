"""`tagstack export`: from the snapshot's file where it is on this machine, else over NATS."""

from __future__ import annotations

from pathlib import Path

from tagstack.adapters.duckdb_export import SnapshotSource
from tagstack.adapters.export_files import ExportFolder
from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_export import ServiceSource
from tagstack.application.export import Exported, export


async def from_snapshot(snapshot: Path, folder: Path) -> Exported:
    """Export a snapshot. Raises Unavailable where it can't be opened, ExportError."""
    with ExportFolder(folder).locked() as target, SnapshotSource(snapshot, folder / ".spill") as source:
        return await export(source, target)


async def from_service(client: ServiceClient, folder: Path) -> Exported:
    """Export what the SQL worker answers. Raises Unavailable, Answered, ExportError."""
    with ExportFolder(folder).locked() as target:
        return await export(ServiceSource(client), target)
