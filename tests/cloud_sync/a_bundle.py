"""Small real bundles, good and bad, a signed repository, and the process that gives it out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from cloud_sync.hub.repository import Repository
from cloud_sync.trust import Holders, Lifetimes
from cloud_sync.trust_keys import make_key
from edge.embed import Embedder
from edge.gate import Gate
from edge.runtime import OpenVinoNetwork
from models.bundle import Bundle, BundleError, Group, Model, load_bundle
from models.bundle_writer import Draft, write_bundle
from models.catalogue import Catalogue, Product
from models.selftest import CROPS, drawn, made
from models.table import Looks, Thresholds, build_table, normalised
from tests.models.a_table import directions

ROOT = Path(__file__).parents[2]
COMMAND = "from edge.cli import main; main()"
SIDE, DIM = 32, 16
KNOWS = Thresholds(tl=0.3, th=0.6, margin=0.0, anchor_accept=0.5, anchor_margin=0.0)
KNOWS_NOTHING = Thresholds(tl=0.0, th=0.0, margin=0.0, anchor_accept=0.0, anchor_margin=0.0)

Tail = Callable[[Any], Any]


def a_network(path: Path, *, dim: int = DIM, seed: int = 0, weights: int = 0,
              tail: Tail | None = None) -> None:  # fmt: skip
    """Write a network from (?, SIDE, SIDE, 3) uint8 to (?, dim): pooled colours, projected.

    weights: further float32 numbers it is made heavier by. tail: is given the pooled colours,
    (?, 48), and gives what is added to them.
    """
    chance = np.random.default_rng(seed)
    picture = op.parameter([-1, SIDE, SIDE, 3], np.uint8, "picture")
    scaled = op.divide(op.convert(picture, np.float32), np.float32(255.0))
    planes = op.transpose(scaled, np.array([0, 3, 1, 2]))
    pooled = op.avg_pool(planes, [8, 8], [0, 0], [0, 0], [8, 8], True)
    flat = op.subtract(op.reshape(pooled, np.array([-1, 48]), False), np.float32(0.5))
    if weights:
        width = weights // 96
        up = chance.normal(0, 0.1, (48, width)).astype(np.float32)
        down = chance.normal(0, 1e-3, (width, 48)).astype(np.float32)
        flat = op.add(flat, op.matmul(op.matmul(flat, up, False, False), down, False, False))
    if tail is not None:
        flat = op.add(flat, tail(flat))
    turned = op.matmul(flat, chance.normal(size=(48, dim)).astype(np.float32), False, False)
    length = op.sqrt(op.reduce_sum(op.multiply(turned, turned), np.array([1]), True))
    model = ov.Model([op.divide(turned, op.add(length, np.float32(1e-6)))], [picture], "small")
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=False)
    # Boxes of these tests run OpenVINO; one that ran ONNX Runtime would refuse the bundle.
    path.with_suffix(".onnx").write_bytes(path.read_bytes())


def a_bundle(
    folder: Path,
    version: int = 1,
    *,
    weights: int = 0,
    thresholds: Thresholds = KNOWS,
    tail: Tail | None = None,
    prices: int = 100,
    bundle_id: str = "drinks",
    dim: int = DIM,
    strangers: int = 0,
    shown: Callable[[int], NDArray[np.uint8]] = drawn,
) -> Bundle:
    """Write a bundle that knows the self-test's crops as products p0, p1, ...

    strangers: further products in its table, others in every version.
    """
    path = folder / f"network-{version}" / "small.xml"
    a_network(path, dim=dim, weights=weights)
    model = Model("small", path, path.with_suffix(".onnx"), SIDE, dim, "stretch", frozenset())
    embedder = Embedder(OpenVinoNetwork(path, threads=1), side=SIDE, dim=dim, fit="stretch")
    vectors = embedder.embed([shown(number) for number in range(CROPS)])
    looks = {f"p{n}": Looks(vector, vector[None]) for n, vector in enumerate(vectors)}
    for number, vector in enumerate(directions(strangers, dim, seed=version)):
        near = vector + np.random.default_rng(number).normal(0, 0.01, (2, dim))
        looks[f"stranger-{number}"] = Looks(vector, normalised(near.astype(np.float32)))
    group = Group("all", model, build_table(looks, dim, thresholds))
    tests, files = made(group, embedder, Gate(group.table, "all"))
    products = [Product(sku, sku.upper(), price_minor=prices, currency="EUR") for sku in looks]
    if tail is not None:
        a_network(path, dim=dim, weights=weights, tail=tail)
    draft = Draft(
        bundle_id=bundle_id,
        version=version,
        groups=[group],
        catalogue=Catalogue(products),
        licences={"network": "Apache-2.0"},
        provenance={},
        self_test=tests,
        files=files,
        created="2026-01-01T00:00:00+00:00",
    )
    return write_bundle(folder / f"bundle-{version}", draft)


def changed(bundle: Bundle, name: str, content: bytes | None, **manifest: Any) -> Bundle:
    """Change a bundle's file and vouch for it in the manifest, as its maker could."""
    import hashlib

    path = bundle.path / "manifest.json"
    about = json.loads(path.read_bytes())
    if content is not None:
        (bundle.path / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        about["files"][name] = {"sha256": digest, "size": len(content)}
    about.update(manifest)
    path.write_text(json.dumps(about))
    try:
        return load_bundle(bundle.path)
    except BundleError:
        return replace(bundle, digest=hashlib.sha256(path.read_bytes()).hexdigest())


class Keys:
    """Three keys for root, three for targets, one for the hub; two of three have to sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = [make_key(folder / f"root-{n}.pem") for n in (1, 2, 3)]
        self.targets = [make_key(folder / f"targets-{n}.pem") for n in (1, 2, 3)]
        self.online = folder / "online.pem"
        make_key(self.online)

    @property
    def two(self) -> list[Any]:
        return self.targets[:2]

    def as_arguments(self) -> list[str]:
        """`--key ...` of two holders of targets."""
        return [a for n in (1, 2) for a in ("--key", str(self.folder / f"targets-{n}.pem"))]


def a_repository(folder: Path, keys: Keys, lifetimes: Lifetimes | None = None) -> Repository:
    """Make an empty repository."""
    found = Repository(folder, lifetimes)
    holders = {
        "root": Holders(tuple(s.public_key for s in keys.root), 2),
        "targets": Holders(tuple(s.public_key for s in keys.targets), 2),
    }
    found.create(holders, keys.root, keys.targets, keys.online)
    return found


def shelfgate(*arguments: str) -> dict[str, Any]:
    """Run a command with --json; return what it prints."""
    # The hub that somebody may have on this machine is none of a test's.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments, "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class RepositoryProcess:
    """`shelfgate hub repository serve` in a process of its own."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        arguments = ["hub", "repository", "serve", "--repository", str(folder), "--json"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments, "--broker-port", str(broker_port)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(15)
