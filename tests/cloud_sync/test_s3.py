"""The pictures behind items in an S3 store: a real one over HTTP, of this process's own."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_sync.broker import free_port
from cloud_sync.hub.app import create_app
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.evidence import DAY_S, EvidenceRoom, PictureStore
from cloud_sync.hub.store import Arrived, Store
from cloud_sync.messages import Evidence, encode

DATA = b"\xff\xd8\xff" + b"x" * 1_000
SHA256 = hashlib.sha256(DATA).hexdigest()
PICTURE = Evidence(item="e1", name="e1/crop-0.jpg", sha256=SHA256, data=DATA)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that speaks S3, and the address of a place in it."""
    s3fs = pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    moto = pytest.importorskip("moto.server", reason="the extra s3-server is not installed")
    port = free_port()
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "shop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    boto3 = pytest.importorskip("boto3")
    boto3.client("s3").create_bucket(
        Bucket=f"shop-{port}", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"}
    )
    yield server, f"s3://shop-{port}/evidence"
    server.stop()


def test_a_picture_is_kept_once_read_and_dropped(s3: Any) -> None:
    _, url = s3
    store = PictureStore(url)
    for _ in range(2):
        store.keep(PICTURE)
    assert store.read(SHA256) == DATA
    again = PictureStore(url)
    assert again.read(SHA256) == DATA
    for _ in range(2):
        again.drop(SHA256)
    assert store.read(SHA256) is None


def test_a_store_that_went_away_is_an_oserror_and_a_503(s3: Any, tmp_path: Path) -> None:
    server, url = s3
    store = PictureStore(url)
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    message = Arrived("shelfgate/v1/store-1/box-1/evidence", encode(PICTURE))
    Store(engine, pictures=store).take([message])
    room = EvidenceRoom(engine, store, lambda: time.time() + 91 * DAY_S)
    app = create_app(engine, evidence=room, is_open=True)
    server.stop()

    with pytest.raises(OSError, match=url):
        store.keep(PICTURE)
    with pytest.raises(OSError, match=url):
        store.read("0" * 64)
    with pytest.raises(OSError, match=url):
        room.prune(90.0)
    assert room.of_item("e1"), "it is dropped once the store is back"

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as hub:
            return await hub.get(f"/evidence/{SHA256}", timeout=60.0)

    assert asyncio.run(asked()).status_code == 503
