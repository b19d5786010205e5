"""Every change at the hub is written down, whichever way it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_sync.broker import Broker
from cloud_sync.device.enrolment import _request
from cloud_sync.hub.audit import Audit
from cloud_sync.hub.changes import Changes
from cloud_sync.hub.command_options import me
from cloud_sync.hub.commands import hub as hub_command
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.trust_keys import TrustError
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_hub import WholeHub

Body = dict[str, Any]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeHub]:
    """A hub at a broker of its own: at another's it would take half of what comes there."""
    with Broker() as broker, WholeHub(tmp_path_factory.mktemp("whole"), broker.port) as running:
        yield running


class Walk:
    """Changes everything that the API can change, once; every answer is a success."""

    def __init__(self, hub: WholeHub) -> None:
        self._hub = hub
        self.routes: set[tuple[str, str]] = set()

    def step(
        self, method: str, route: str, action: str, body: Body | None = None, **names: str
    ) -> Any:
        """Make one call; check that it left one row, and whose."""
        self.routes.add((method.lower(), route))
        before = self._newest()
        url = self._hub.url + route.format(**names)
        answer = httpx.request(method, url, json=body, headers=self._hub.admin, timeout=10.0)
        assert answer.status_code < 300, (route, answer.text)
        rows = Audit(self._hub.engine).newest(100)
        (row,) = [one for one in rows if one.id > before]
        assert row.action == action, route
        assert row.subject, route
        # A box has no token: it is known by its code.
        box = route == "/enrolments"
        assert row.who.startswith("the box with code") if box else row.who == "ada", route
        return answer.json() if answer.content else None

    def _newest(self) -> int:
        return max(one.id for one in Audit(self._hub.engine).newest(1))


BOX = {"site": "store-9", "device": "box-1"}


def the_fleet(walk: Walk) -> None:
    labels = {"labels": ["pilot"]}
    walk.step("PUT", "/sites/{site}", "site.put", {"title": "North"}, site="store-9")
    walk.step("PUT", "/devices/{site}/{device}/labels", "device.label", labels, **BOX)
    walk.step("PUT", "/groups/{name}", "group.put", {"devices": [BOX]}, name="first")
    walk.step("DELETE", "/groups/{name}", "group.drop", name="first")
    walk.step("DELETE", "/sites/{site}", "site.drop", site="store-9")


def the_releases(walk: Walk) -> None:
    walk.step("PUT", "/bundles/{ref}", "bundle.register", {"note": "new"}, ref="fruit 1")
    asked = {"bundle": "fruit 1", "label": "pilot", "stages": ["100%"]}
    rollout = walk.step("POST", "/rollouts", "rollout.start", asked)["id"]
    walk.step("POST", "/rollouts/{rollout}/pause", "rollout.pause", rollout=rollout)
    walk.step("POST", "/rollouts/{rollout}/resume", "rollout.resume", rollout=rollout)
    back = "/rollouts/{rollout}/rollback"
    walk.step("POST", back, "rollout.roll_back", {"reason": "no"}, rollout=rollout)
    walk.step("DELETE", "/bundles/{ref}", "bundle.withdraw", ref="fruit 1")


def the_boxes(walk: Walk) -> None:
    code = walk.step("POST", "/devices/{site}/{device}/code", "device.code", {}, **BOX)["code"]
    request = _request(ec.generate_private_key(ec.SECP256R1())).decode()
    walk.step("POST", "/enrolments", "device.certify", {"code": code, "request": request})
    walk.step("POST", "/devices/{site}/{device}/revoke", "device.revoke", **BOX)
    walk.step("POST", "/evidence", "evidence.ask", {**BOX, "item": "e-1"})
    walk.step("POST", "/reviews/settle", "review.settle", {**BOX, "item": "e-1"})


def the_people(walk: Walk) -> None:
    asked = {"name": "bob", "role": "viewer"}
    made = walk.step("POST", "/tokens", "token.create", asked)
    walk.step("DELETE", "/tokens/{token}", "token.revoke", token=made["id"])


def test_every_route_that_changes_anything_leaves_who_and_what(whole: WholeHub) -> None:
    walk = Walk(whole)
    for part in (the_fleet, the_releases, the_boxes, the_people):
        part(walk)
    paths = whole.app.openapi()["paths"]
    changing = {(verb, path) for path, verbs in paths.items() for verb in verbs if verb != "get"}
    assert walk.routes == changing
    log = json.dumps(httpx.get(f"{whole.url}/audit", headers=whole.admin).json())
    assert "token.revoke" in log
    assert whole.admin["Authorization"].split("_", 2)[2] not in log


def test_what_is_refused_changes_nothing_and_is_not_in_the_log(whole: WholeHub) -> None:
    before = len(Audit(whole.engine).newest(1_000))
    for method, path, body in (
        ("DELETE", "/sites/never", None),
        ("DELETE", "/tokens/never", None),
        ("POST", "/rollouts/never/pause", None),
        ("POST", "/rollouts", {"bundle": "never 1"}),
        ("POST", "/enrolments", {"code": "sgc_a_b_c", "request": "x"}),
        ("PUT", "/sites/x", {"title": 1}),
    ):
        answer = httpx.request(method, whole.url + path, json=body, headers=whole.admin)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    assert len(Audit(whole.engine).newest(1_000)) == before


@pytest.fixture
def database(tmp_path: Path) -> str:
    migrate(open_database(str(tmp_path / "hub.db")))
    return str(tmp_path / "hub.db")


class Signer:
    """Somebody with two keys, a repository and the hub's database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder / "repository"
        self.keys = Keys(folder / "keys")
        self._where = ["--repository", str(self.folder)]
        self._database = ["--database", database]

    def does(self, *arguments: str, keys: tuple[int, ...] = ()) -> None:
        """Call `shelfgate hub ...`, with those of the targets keys."""
        signing = [f"--key={self.keys.folder / f'targets-{number}.pem'}" for number in keys]
        where = [] if "assign" in arguments else self._where
        given = [*arguments, *where, *self._database, *signing]
        result = CliRunner().invoke(hub_command, given)
        assert result.exit_code == 0, (arguments, result.output)


def test_every_command_that_changes_bundles_leaves_who_and_what(
    tmp_path: Path, database: str, broker: Broker
) -> None:
    ada = Signer(tmp_path, database)
    bundle = str(a_bundle(tmp_path).path)
    at = ("--broker-port", str(broker.port), "--to", "store-1/box-1")
    root = [f"--key={ada.keys.folder / f'root-{number}.pem'}" for number in (1, 2)]
    held = [f"--holder=targets {ada.keys.folder / f'targets-{n}.pub'}".split() for n in (1, 2)]
    ada.does("repository", "init", "--keys", str(ada.keys.folder))
    ada.does("bundle", "push", bundle, keys=(1,))
    ada.does("bundle", "sign", keys=(2,))
    ada.does("bundle", "push", bundle, *at, keys=(1, 2))
    ada.does("bundle", "renew", keys=(1, 2))
    ada.does("bundle", "assign", "drinks", "1", *at)
    ada.does("bundle", "unpublish", "drinks", "1", keys=(1, 2))
    ada.does("repository", "renew")
    holders = [part for one in held for part in (one[0].split("=")[0], "targets", one[1])]
    ada.does("repository", "rotate", *root, *holders, keys=(1, 2))

    rows = Audit(open_database(database)).newest(100)[::-1]
    assert [(row.action, row.subject) for row in rows] == [
        ("repository.init", "root 1"),
        ("bundle.push", "drinks 1"),
        ("bundle.sign", "targets 2"),
        ("bundle.push", "drinks 1"),
        ("bundle.register", "drinks 1"),
        ("bundle.assign", "drinks 1"),
        ("bundle.renew", "targets 4"),
        ("bundle.assign", "drinks 1"),
        ("bundle.unpublish", "drinks 1"),
        ("repository.renew", "timestamp"),
        ("repository.rotate", "root 2"),
    ]
    assert {row.who for row in rows} == {me().name}
    assert rows[1].detail["keys"] == [ada.keys.targets[0].public_key.keyid[:12]]
    assert (rows[1].detail["missing"], rows[2].detail["missing"]) == (1, 0)
    assert rows[5].detail["devices"] == ["store-1/box-1"]


def test_a_repository_away_from_any_hub_keeps_its_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    keys = Keys(tmp_path / "keys")
    folder = a_repository(tmp_path / "repository", keys).folder
    where = ["--repository", str(folder)]
    pushed = ["bundle", "push", str(a_bundle(tmp_path).path), *where, *keys.as_arguments()]
    for arguments in (pushed, ["repository", "renew", *where]):
        assert CliRunner().invoke(hub_command, arguments).exit_code == 0
    shown = CliRunner().invoke(hub_command, ["repository", "log", *where, "--json"])
    changes = json.loads(shown.stdout)["changes"]
    assert [(one["action"], one["who"]) for one in changes] == [
        ("repository.renew", me().name),
        ("bundle.push", me().name),
    ]
    assert "bundle.push  drinks 1" in CliRunner().invoke(
        hub_command, ["repository", "log", *where]
    ).stdout  # fmt: skip


def test_a_hub_that_cannot_write_it_down_stops_the_change_before_it_is_made(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path / "keys")
    repository = a_repository(tmp_path / "repository", keys)
    (tmp_path / "hub.db").write_bytes(b"no database at all" * 100)
    database = ["--database", str(tmp_path / "hub.db")]
    arguments = ["bundle", "push", str(a_bundle(tmp_path).path), *keys.as_arguments(), *database]
    result = CliRunner().invoke(hub_command, [*arguments, "--repository", str(repository.folder)])
    assert result.exit_code == 2
    assert repository.bundles() == []


def test_a_log_that_cannot_be_written_says_that_the_change_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="done, but not written down"):
        Changes(me(), None, tmp_path / "nowhere").write("bundle.push", "drinks 1")
