"""Export for those without the snapshot's file: the same files, over NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb

from tagstack.adapters.nats_client import ServiceClient
from tagstack.application.export import ORDERS
from tagstack.apps.export import from_service, from_snapshot
from tests.logs import do_everything, service, shown


def test_an_export_over_nats_equals_one_from_the_file(nats_url: str, tmp_path: Path) -> None:
    """Every relation has the same columns, types and rows either way."""

    async def scenario() -> None:
        async with service(nats_url, tmp_path / "home", sql=True) as client:
            await do_everything(client)
            snapshot = await shown(client, tmp_path / "home" / "live" / "tagstack.duckdb")
            async with ServiceClient(nats_url, "ann") as asking:
                far = await from_service(asking, tmp_path / "far")
                assert (await from_service(asking, tmp_path / "far")).written == 0
            assert far == await from_snapshot(snapshot, tmp_path / "near")

    asyncio.run(scenario())
    for file in ("events/*/*", *ORDERS):
        far, near = (duckdb.sql(f"FROM '{tmp_path}/{side}/{file}.parquet'") for side in ("far", "near"))
        assert dict(zip(far.columns, far.types, strict=True)) == dict(zip(near.columns, near.types, strict=True)), file
        assert far.fetchall() == near.fetchall(), file
