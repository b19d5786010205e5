"""Why a box does not run a bundle: the same words on the box, at its hub and on its page."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from cloud_sync.topics import Address
from models.selftest import CROPS
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_device import HubProcess

SENTENCES = {"refused": "Refused {}: {}.", "rolled_back": "Took {} back: {}."}
"""How the page says it; written out here, so that it is not the page which says what is right."""


def is_told(
    box: Box, hub: HubProcess, version: int, because: str, *, bundle: str = "drinks", runs: int = 0
) -> str:
    """Give the reason why a box does not run a version.

    The box has said so already; hub and page give that reason too, the hub out of its database and
    by its API, and the box knows its products by the bundle that it had.
    """
    status = box.status
    assert because in status.reason, status
    assert status.bundle == f"{bundle} {version}"
    is_shown(hub, box.address, box.page.url, status.reason, phase=status.phase,
             refused=f"{bundle} {version}", runs=f"drinks {runs}")  # fmt: skip
    goes_on(box, runs)
    return status.reason


def goes_on(box: Box, runs: int = 0) -> None:
    """The box decides with the bundle that it had, and knows every product."""
    assert box.running == ("drinks", runs)
    assert box.decide() == [f"p{number}" for number in range(CROPS)]


def is_shown(
    hub: HubProcess,
    address: Address,
    page: str,
    reason: str,
    *,
    phase: str = "refused",
    refused: str = "drinks 1",
    runs: str = "drinks 0",
) -> None:
    """Hub and page say of a box what it runs, what it does not, and why."""

    def at_hub() -> Any:
        try:
            found = hub.get(f"/devices/{address.site}/{address.device}")["shadow"]
        except httpx.HTTPStatusError as error:
            return error.response.status_code  # the hub may not have heard of it yet
        told = ("state", "failed_bundle", "detail", "reported_bundle")
        return found and tuple(found[name] for name in told)

    def on_page() -> Any:
        found = httpx.get(f"{page}api/state", timeout=10.0).json()["bundle"]
        return found["note"], f"{found['bundle_id']} {found['version']}"

    _comes_to(on_page, (SENTENCES[phase].format(refused, reason.rstrip(".!")), runs))
    _comes_to(at_hub, ("failed", refused, reason, runs))


def _comes_to(ask: Callable[[], Any], wanted: Any, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while (found := ask()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert found == wanted
