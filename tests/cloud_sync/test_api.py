"""Who may do what at the hub's API, and that nothing sent to it breaks it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine

from cloud_sync.broker import Broker
from cloud_sync.hub.app import create_app
from cloud_sync.hub.audit import THE_HUB, Role
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.fleet import Fleet
from cloud_sync.hub.logs import JsonLines
from cloud_sync.hub.tokens import Tokens
from cloud_sync.logs import PlainLines, without_secrets
from cloud_sync.topics import Address
from tests.cloud_sync.a_device import ROOT
from tests.cloud_sync.a_hub import WholeHub

PUBLIC = {"/healthz", "/readyz", "/enrolments", "/authority"}
VALUES = {"session": "s", "site": "store-1", "device": "box-1", "name": "g", "rollout": "r-1"}
VALUES |= {"token": "t", "ref": "b 1", "sha256": "0" * 64}


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_database(str(tmp_path_factory.mktemp("hub") / "hub.db"))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def app(engine: Engine) -> FastAPI:
    return create_app(engine)


@pytest.fixture(scope="session")
def api(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def bearer(engine: Engine) -> dict[str, dict[str, str]]:
    tokens = Tokens(engine)
    return {
        role.value: {
            "Authorization": f"Bearer {tokens.create(THE_HUB, f'a {role.value}', role, 1.0)[1]}"
        }
        for role in Role
    }


def routes(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, about in methods.items():
            yield method, path, about


def test_every_route_asks_for_a_role_and_lets_no_other_in(
    app: FastAPI, api: TestClient, bearer: dict[str, dict[str, str]]
) -> None:
    walked = 0
    for method, path, about in routes(app):
        if path in PUBLIC:
            assert "x-roles" not in about
            continue
        url = re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], path)
        assert about["x-roles"], path
        assert api.request(method, url, json={}).status_code == 401
        stranger = {"Authorization": "Bearer sgt_0123_abc"}
        assert api.request(method, url, json={}, headers=stranger).status_code == 401
        for role, headers in bearer.items():
            status = api.request(method, url, json={}, headers=headers).status_code
            assert (status == 403) is (role not in about["x-roles"]), (method, path, role, status)
            assert status not in (401, 500)
            walked += 1
    assert walked > 100


def test_what_each_role_is_for(api: TestClient, bearer: dict[str, dict[str, str]]) -> None:
    def may(method: str, path: str) -> set[str]:
        asked = {role: api.request(method, path, json={}, headers=h) for role, h in bearer.items()}
        return {role for role, answer in asked.items() if answer.status_code != 403}

    assert may("GET", "/carts") == {"admin", "operator", "viewer"}
    assert may("PUT", "/bundles/x 1") == {"admin", "developer"}
    assert may("GET", "/bundles") == {"admin", "operator", "developer", "provider", "viewer"}
    assert may("POST", "/rollouts") == {"admin", "operator"}
    assert may("POST", "/tokens") == {"admin"}


def test_a_token_ends_by_time_and_by_hand(tmp_path: Path) -> None:
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    now = [1_000.0]
    tokens = Tokens(engine, lambda: now[0])
    first, text = tokens.create(THE_HUB, "alice", Role.VIEWER, 1.0)
    _, other = tokens.create(THE_HUB, "bob", Role.VIEWER, 2.0)
    assert tokens.holder(text) is not None
    assert tokens.holder(text[:-1]) is None
    assert tokens.holder(text.replace(first.id, "0" * 12)) is None
    for nonsense in ("", "sgt_", "sgt__", "sgt_a_", "x" * 10_000, "sgt_\0_x"):
        assert tokens.holder(nonsense) is None
    now[0] += 86_401
    assert tokens.holder(text) is None
    assert tokens.holder(other) is not None
    assert tokens.revoke(THE_HUB, other.split("_")[1])
    assert tokens.holder(other) is None
    # The database holds nothing that opens the API.
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("hub.db*"))
    assert first.id.encode() in kept
    assert all(one.split("_", 2)[2].encode() not in kept for one in (text, other))


def test_metrics_count_what_is_there(
    api: TestClient, bearer: dict[str, dict[str, str]], engine: Engine
) -> None:
    Fleet(engine).label(THE_HUB, Address("store-2", "box-7"), ["x"])
    text = api.get("/metrics", headers=bearer["viewer"]).text
    assert "shelfgate_hub_devices_online 0.0" in text
    again = api.get("/metrics", headers=bearer["viewer"]).text
    assert re.search(r'shelfgate_hub_requests_total{[^}]*route="/metrics"[^}]*} [1-9]', again)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("header Authorization: Bearer sgt_12ab_S3cr3t-x", "S3cr3t"),
        ("GET /x?token=sgt_12ab_S3cr3t-x", "S3cr3t"),
        ("code sgc_12ab_S3cr3t was used", "S3cr3t"),
        ("postgresql+psycopg://hub:S3cr3t@db/hub is away", "S3cr3t"),
        ("postgresql+psycopg://hub:S3@cr3t@db/hub is away", "cr3t"),
        ("password=S3cr3t", "S3cr3t"),
        ("the passphrase: S3cr3t", "S3cr3t"),
        ("http://cam/video?user=a&pwd=S3cr3t&fps=5 does not answer", "S3cr3t"),
        ("http://cam/video?access_token=S3cr3t", "S3cr3t"),
        ("-----BEGIN EC PRIVATE KEY-----\nS3cr3t\n-----END EC PRIVATE KEY-----", "S3cr3t"),
    ],
)
def test_secrets_are_blotted_out_of_the_log(text: str, secret: str) -> None:
    assert secret not in without_secrets(text)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (text,), None)
    # Somebody may have pasted a secret where a token's name belongs.
    record.who, record.status = text, 200
    line = json.loads(JsonLines().format(record))
    assert secret not in json.dumps(line)
    assert secret not in PlainLines().format(record)
    assert line["status"] == 200


def test_what_nobody_caught_is_logged_like_the_rest() -> None:
    program = (
        "import threading, warnings\n"
        "from cloud_sync.hub.logs import set_up_logs\n"
        "def fall(): raise ValueError('password=S3cr3t')\n"
        "set_up_logs()\n"
        "warnings.warn('password=S3cr3t')\n"
        "thread = threading.Thread(target=fall)\n"
        "thread.start()\n"
        "thread.join()\n"
        "fall()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["level"] for one in lines] == ["warning", "critical", "critical"]
    assert "in fall" in lines[1]["trace"]
    assert "S3cr3t" not in done.stderr.replace("raise ValueError('password=S3cr3t')", "")
    assert done.returncode == 1


@pytest.mark.slow
def test_whatever_is_sent_there_is_no_500(tmp_path: Path) -> None:
    """Schemathesis makes up requests from the OpenAPI document, good ones and bad ones.

    SHELFGATE_FAULTS=full makes up 50 for each route instead of 5.
    """
    examples = 50 if os.environ.get("SHELFGATE_FAULTS") == "full" else 5
    walked = 0
    with Broker() as broker, WholeHub(tmp_path, broker.port, is_open=True) as hub:
        Fleet(hub.engine).label(THE_HUB, Address("store-1", "box-1"), ["pilot"])
        schema = schemathesis.openapi.from_url(f"{hub.url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            def check(case: Any) -> None:
                response = case.call()
                assert response.status_code < 500, response.text

            check()
            walked += 1
        assert httpx.get(f"{hub.url}/readyz").json() == {"ok": True, "problem": None}
    assert walked >= 40
