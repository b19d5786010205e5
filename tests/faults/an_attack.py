"""A box, its hub, and an attacker who holds the broker or the hub's disk.

Files and metadata are what the attacker likes, but he has no more keys than a test says. The box is
a real one but for its cameras; broker, hub and networks are real.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, TargetFile, Targets

from cloud_sync.blocks import BLOCK, Block, BlockAsk, encode_block
from cloud_sync.broker import Broker
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.topics import Channel
from cloud_sync.trust import sign
from tests.cloud_sync.a_box import Box
from tests.cloud_sync.a_bundle import Keys
from tests.cloud_sync.a_device import HubProcess
from tests.faults.a_refusal import is_told


class Attacked:
    """A box, its hub's disk, and whoever sits there."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        hub: HubProcess,
        repository: Repository,
        packaged: Path,
        keys: Keys,
    ) -> None:
        self.repository, self.keys, self.broker, self.hub = repository, keys, broker, hub
        self.metadata = repository.folder / "metadata"
        self._folder, self._packaged = folder, packaged
        self.root = (repository.folder / "root.json").read_bytes()
        self.server = BlockServer(repository, broker.host, broker.port, folder.name)
        self.server.start()
        self.box = self.a_box()

    def a_box(self, name: str = "") -> Box:
        return Box(
            self._folder / "box", self.broker.port, self.root, self._packaged,
            name=name or self._folder.name, again_s=60.0,
        )  # fmt: skip

    def refused(self, because: str, version: int = 1, bundle: str = "drinks") -> str:
        """The wanted bundle is refused, on box, hub and page, and nothing is changed."""
        self.box.want(version, bundle)
        self.box.refuses(version)
        return is_told(self.box, self.hub, version, because, bundle=bundle)

    def stop(self) -> None:
        self.box.stop()
        self.server.stop()

    # What an attacker with the hub's disk, and so with the online key, can do.

    def edited(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a metadata file, and leave its signatures as they are."""
        path = self.metadata / name
        content = json.loads(path.read_bytes())
        change(content["signed"])
        path.write_text(json.dumps(content))

    def resigned(self, targets: Metadata[Targets]) -> None:
        """Put a list of targets in place of the published one, with a timestamp that is right."""
        version = targets.signed.version
        (self.metadata / f"{version}.targets.json").unlink(missing_ok=True)
        self.repository._publish(targets)


class Endless:
    """Answers every ask with more than was asked for."""

    def __init__(self, server: BlockServer, only: str = "") -> None:
        self.sent = 0
        self._server, self._only, self._answer = server, only, server._answer
        server._answer = self._flood  # type: ignore[method-assign]

    def _flood(self, address: Any, ask: BlockAsk) -> None:
        if self._only and self._only not in ask.file:
            self._answer(address, ask)
            return
        for number in ask.numbers:
            self.sent += BLOCK
            block = Block(file=ask.file, number=number, size=ask.size, total=2**50,
                          data=b" " * ask.size)  # fmt: skip
            self._server._publish(address.topic(Channel.BLOCKS), encode_block(block))


def next_targets(attacked: Attacked) -> Metadata[Targets]:
    """Give a list of targets that nobody has signed yet, with what the published one holds."""
    forged = copy.deepcopy(attacked.repository.targets())
    forged.signed.version += 1
    forged.signatures.clear()
    return forged


def publish_by_hand(attacked: Attacked, manifest: dict[str, Any], version: int) -> None:
    """Sign a manifest and those of its files whose names TUF takes, without a look at either."""
    content = json.dumps(manifest).encode()
    digest = hashlib.sha256(content).hexdigest()
    (attacked.repository.folder / "files" / digest).write_bytes(content)
    listed = next_targets(attacked)
    names = {f"drinks/{version}/manifest.json": (digest, len(content))}
    for name, entry in manifest["files"].items():
        if "more" not in name:
            names[f"drinks/{version}/{name}"] = (entry["sha256"], entry["size"])
    for name, (sha, size) in names.items():
        listed.signed.targets[name] = TargetFile(size, {"sha256": sha}, name)
    sign(listed, attacked.keys.two)
    attacked.resigned(listed)
