"""A page served for real, and a real browser to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from edge.status.server import StatusServer
from tests.web.memory_shop import MemoryShop


@pytest.fixture
def shop(tmp_path: Path) -> MemoryShop:
    return MemoryShop(tmp_path)


@pytest.fixture
def server(shop: MemoryShop) -> Iterator[StatusServer]:
    server = StatusServer(shop, port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"],
        )
        yield browser
        browser.close()
