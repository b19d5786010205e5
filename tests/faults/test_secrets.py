"""No secret stands in any log, whatever is done rightly or wrongly: real processes of every kind.

A PostgreSQL with a password, a broker with certificates, a hub with two workers, a repository's
server and a device; each writes to files, which are searched in the end.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cloud_sync.broker import find_mosquitto, free_port
from tests.cloud_sync.a_bundle import a_bundle
from tests.cloud_sync.a_database import Postgres, programs
from tests.cloud_sync.a_device import COMMAND, ROOT, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
]

PASSWORD, NO_PASSWORD = "Pg-hunter2-word", "Pg-wrong-word"
PASSPHRASE, NO_PASSPHRASE = "open-sesame-9471", "open-barley-1749"
NO_TOKEN = "sgt_0123456789ab_" + "W" * 43
DEVICE = "import sys; from tests.faults.an_enrolled_device import main; main(*sys.argv[1:])"
BOX = "store-1/box-1"


class Shop:
    """Everything that runs, each with its output in files; secrets: what must be in none."""

    def __init__(self, folder: Path, database: Postgres) -> None:
        self.folder, self.database = folder, database
        self.broker = folder / "broker"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.secrets = {PASSWORD, NO_PASSWORD, PASSPHRASE, NO_PASSPHRASE, NO_TOKEN.split("_")[2]}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ran = 0
        self.port, self.hub_port = free_port(), free_port()

    def does(self, *arguments: str, code: int = 0, is_shown: bool = False, url: str = "") -> str:
        """Run a command to its end; is_shown: what it prints is a secret, meant for who called."""
        self._ran += 1
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments], cwd=ROOT, env=self._environment(url),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        name = f"{self._ran}-{'-'.join(arguments[:2])}"
        (self.logs / f"{name}.err").write_text(done.stderr)
        if not is_shown:
            (self.logs / f"{name}.out").write_text(done.stdout)
        assert done.returncode == code, (arguments, done.stderr)
        return done.stdout

    def starts(self, name: str, *command: str | Path) -> None:
        """Start a process that goes on."""
        outputs = [(self.logs / f"{name}.{end}").open("ab") for end in ("out", "err")]
        self.processes.append(
            subprocess.Popen(
                command, cwd=ROOT, env=self._environment(""), stdout=outputs[0], stderr=outputs[1]
            )
        )

    def shelfgate(self, name: str, *arguments: str) -> None:
        """Start one of ours at the broker, as the hub; return once it has printed where it is."""
        line = ("--broker-port", str(self.hub_port), "--broker-ca", str(self.broker / "ca.pem"))
        line += ("--broker-cert", str(self.broker / "hub.pem"))
        line += ("--broker-key", str(self.broker / "hub.key"), "--json")
        self.starts(name, sys.executable, "-c", COMMAND, *arguments, *line)
        until(lambda: bool(self.said(name)), 40)

    def said(self, name: str, end: str = "out") -> str:
        return (self.logs / f"{name}.{end}").read_text(errors="replace")

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)

    def _environment(self, url: str) -> dict[str, str]:
        # By the environment: arguments are for everybody on the machine to see.
        database = {"SHELFGATE_HUB_DATABASE": url or self.database.url}
        return {**os.environ, "PYTHONPATH": str(ROOT), **database}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Postgres(PASSWORD) as database:
        one = Shop(tmp_path, database)
        try:
            yield one
        finally:
            one.stop()


def set_up(shop: Shop) -> None:
    """Broker, keys, a repository with a bundle in it, hub and repository's server."""
    ports = ("--port", str(shop.port), "--hub-port", str(shop.hub_port))
    where = ("--folder", str(shop.broker))
    shop.does("hub", "provision", "broker", "--host", "127.0.0.1", *where, *ports)
    with (shop.broker / "mosquitto.conf").open("a") as configuration:
        configuration.write("\nlog_type all\n")
    shop.starts("mosquitto", find_mosquitto(), "-v", "-c", shop.broker / "mosquitto.conf")
    shop.does("hub", "migrate")
    right, wrong = shop.folder / "right.txt", shop.folder / "wrong.txt"
    right.write_text(PASSPHRASE)
    wrong.write_text(NO_PASSPHRASE)
    keys, repository = shop.folder / "keys", ("--repository", str(shop.folder / "repository"))
    unlock = ("--passphrase-file", str(right))
    shop.does("hub", "keys", "make", "--out", str(keys), *unlock)
    shop.does("hub", "repository", "init", "--keys", str(keys), *repository, *unlock)
    signed = [f"--key={keys / f'targets-{number}.pem'}" for number in (1, 2)]
    bundle = str(a_bundle(shop.folder).path)
    shop.does("hub", "bundle", "push", bundle, *repository, *signed, *unlock)
    lock = ("--passphrase-file", str(wrong))
    shop.does("hub", "bundle", "renew", *repository, *signed, *lock, code=2)
    tls = ("--tls-cert", str(shop.broker / "broker.pem"))
    tls += ("--tls-key", str(shop.broker / "broker.key"), "--authority", str(shop.broker))
    pictures = ("--evidence", str(shop.folder / "pictures"))
    serve = ("hub", "serve", "--port", "0", "--workers", "2", *tls, *pictures)
    shop.shelfgate("hub", *serve, "--repository", repository[1])
    shop.shelfgate("repository", "hub", "repository", "serve", *repository, "--name", "2")


def use_tokens(shop: Shop) -> httpx.Client:
    """Call the API with tokens, right and wrong, in places where they belong and where not."""
    made = shop.does("hub", "token", "create", "ada", "--role", "admin", is_shown=True)
    token = made.strip()
    context = ssl.create_default_context(cafile=str(shop.broker / "ca.pem"))
    api = httpx.Client(base_url=json.loads(shop.said("hub"))["api"], verify=context, timeout=20.0)
    right = {"Authorization": f"Bearer {token}"}
    assert api.get("/whoami", headers=right).json()["name"] == "ada"
    for odd in (NO_TOKEN, token[:-4], token.swapcase(), f"{token} {NO_TOKEN}"):
        assert api.get("/carts", headers={"Authorization": f"Bearer {odd}"}).status_code == 401
        assert api.get("/carts", headers={"Authorization": odd}).status_code == 401
    assert api.get(f"/carts?token={token}&password={PASSWORD}").status_code == 401
    assert api.get(f"/{token}/{NO_TOKEN}", headers=right).status_code == 404
    assert api.delete(f"/tokens/{token}", headers=right).status_code == 404
    # Somebody pastes the wrong thing into the field beside.
    asked = {"name": f"bob {token}", "role": "viewer"}
    other = api.post("/tokens", json=asked, headers=right).json()["token"]
    assert api.get("/carts", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    shop.secrets |= {token.split("_", 2)[2], other.split("_", 2)[2]}
    api.headers.update(right)
    return api


def let_a_box_in(shop: Shop, api: httpx.Client) -> None:
    """A code is used once, twice and wrongly; the box comes and is heard."""
    code = api.post(f"/devices/{BOX}/code", json={}).json()["code"]
    shown = api.post("/devices/store-1/box-2/code", json={}).json()["code"]
    shop.secrets |= {code.split("_")[2], shown.split("_")[2]}
    out = ("--out", str(shop.folder / "tls"), "--hub", str(api.base_url).rstrip("/"))
    shop.does("enrol", "--code", code, *out)
    shop.does("enrol", "--code", code, *out, code=2)
    shop.does("enrol", "--code", shown[:-4] + "0000", *out, code=2)
    api.post("/enrolments", json={"code": shown, "request": f"no request {PASSWORD}"})
    api.post("/enrolments", json={"code": [shown], "request": 7})
    api.get(f"/authority/{code}")
    place = str(shop.folder / "box")
    Path(place).mkdir()
    tls = str(shop.folder / "tls")
    shop.starts("device", sys.executable, "-c", DEVICE, place, str(shop.port), tls, BOX)
    until(lambda: any(c["session"] == "anna" for c in api.get("/carts").json()), 40)


def go_wrong(shop: Shop, api: httpx.Client) -> None:
    """The database goes away and comes back; a hub is started with what it cannot use."""
    shop.database.kill()
    until(lambda: api.get("/carts").status_code == 503, 30)
    assert api.get("/readyz").status_code == 503
    api.post("/tokens", json={"name": "eve", "role": "viewer"})
    shop.database.start()
    until(lambda: api.get("/carts").status_code == 200, 40)
    url = shop.database.url
    for wrong, code in (
        (url.replace(PASSWORD, NO_PASSWORD), 1),
        (url.replace(str(shop.database.port), "port"), 2),
        (url.replace(PASSWORD, f"{PASSWORD}@x"), 1),
    ):
        shop.does("hub", "serve", "--port", "0", url=wrong, code=code)


def lines_of_keys(folder: Path) -> set[str]:
    """What is inside the files of secret keys."""
    found = set()
    for path in [*folder.rglob("*.key"), *folder.rglob("*.pem")]:
        text = path.read_text()
        if "PRIVATE KEY" in text:
            found |= {line for line in text.splitlines() if len(line) > 40}
    assert len(found) >= 10
    return found


def test_no_secret_stands_in_any_log(shop: Shop) -> None:
    set_up(shop)
    api = use_tokens(shop)
    let_a_box_in(shop, api)
    hub = next(
        one for one in shop.processes if b"serve" in Path(f"/proc/{one.pid}/cmdline").read_bytes()
    )
    workers = psutil.Process(hub.pid).children()
    assert len(workers) == 2
    for one in (hub.pid, *(worker.pid for worker in workers)):
        assert PASSWORD.encode() not in Path(f"/proc/{one}/cmdline").read_bytes()
    go_wrong(shop, api)
    api.close()
    shop.stop()
    written = {path.name: path.read_text(errors="replace") for path in shop.logs.iterdir()}
    written["mosquitto.log"] = (shop.broker / "mosquitto.log").read_text(errors="replace")
    written["postgres.log"] = shop.database.log
    for name in ("hub.err", "repository.err", "device.err", "mosquitto.log", "postgres.log"):
        assert written[name].count("\n") > 3 or name == "repository.err", name
    for name in ("hub.err", "repository.err"):
        assert all(json.loads(line)["text"] for line in written[name].splitlines()), name
    secrets = {*shop.secrets, *lines_of_keys(shop.folder), "PRIVATE KEY"}
    found = [
        (name, secret, line)
        for name, text in written.items()
        for line in text.splitlines()
        for secret in secrets
        if secret in line
    ]
    assert found == []
