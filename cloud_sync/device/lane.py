"""The slow lane of the line to the hub: pictures and the log, behind everything else.

A picture goes when an item is in review or somebody asked for it, one at a time, and only while
hardly any entry is under way and no bundle is being fetched. It stays on the list until the hub
says that it keeps it.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from cloud_sync.device.extras import Extras, Picture
from cloud_sync.device.outbox import Outbox
from cloud_sync.device.shadow import Shadow
from cloud_sync.messages import Evidence, EvidenceAck, MessageError, encode
from cloud_sync.topics import Channel

log = logging.getLogger(__name__)

Publish = Callable[[Channel, bytes], bool]

AGAIN_S = 10.0
STALLED_S = 60.0
"""A bundle of which nothing came for so long holds no picture up: its server may be away."""

LOG_LINES = 20
REVIEWS = 100
PICTURE_MOST = 180_000
CROP = "crop-"
REVIEWED = "reviewed"


class Lane:
    """Called in the agent's thread.

    folder: where the box keeps its evidence. shadow: says whether a bundle is being fetched.
    Trouble with its own file is logged, and costs nothing but pictures.
    """

    def __init__(self, outbox: Outbox, extras: Extras, folder: Path, shadow: Shadow) -> None:
        self._outbox = outbox
        self._extras = extras
        self._folder = folder
        self._shadow = shadow
        self._fetched: tuple[int, int] | None = None
        self._fetched_at = 0.0
        self._under_way: tuple[str, str] | None = None
        self._sent_at = 0.0

    def close(self) -> None:
        """Close its file."""
        self._extras.close()

    def ask(self, event_id: str) -> int:
        """Somebody wants an item's pictures; count those on their way."""
        item = self._outbox.item(event_id)
        if item is None:
            return 0
        crops = [name for name in item.evidence if Path(name).name.startswith(CROP)]
        try:
            return self._extras.want(event_id, crops)
        except sqlite3.Error as error:
            log.error("pictures cannot be listed: %s", error)
            return 0

    def note(self, payload: bytes) -> None:
        """Keep how the box was while its line is down."""
        try:
            self._extras.note(payload)
        except sqlite3.Error as error:
            log.error("the log of a time without a line cannot be kept: %s", error)

    def look(self, waiting: int) -> None:
        """List the pictures of new reviews, and make room. waiting: entries in the outbox."""
        try:
            mark = self._extras.mark(REVIEWED)
            for sequence, event_id in self._outbox.reviews_after(mark, REVIEWS):
                self.ask(event_id)
                mark = max(mark, sequence)
                self._extras.set_mark(REVIEWED, mark)
            from_log, from_pictures = self._extras.make_room(waiting)
        except (sqlite3.Error, OSError) as error:
            log.error("pictures cannot be listed: %s", error)
            return
        if from_log or from_pictures:
            log.warning("made room: %d lines of the log, %d pictures", from_log, from_pictures)

    def kept(self, ack: EvidenceAck) -> None:
        """The hub keeps a picture."""
        try:
            self._extras.done(ack.item, ack.name)
        except sqlite3.Error as error:
            log.error("a picture cannot be taken off the list: %s", error)
        if self._under_way == (ack.item, ack.name):
            self._under_way = None

    def send(self, publish: Publish, *, quiet: bool) -> None:
        """Send the next of it where the line is quiet."""
        now = time.monotonic()
        if self._a_bundle_comes(now) or not quiet:
            return
        if self._under_way is not None and now - self._sent_at < AGAIN_S:
            return
        try:
            lines = self._extras.log(LOG_LINES)
            for row, payload in lines:
                if not publish(Channel.LOG, payload):
                    return
                self._extras.logged(row)
            picture = self._extras.next_picture()
            if picture is not None:
                self._send(picture, publish, now)
        except sqlite3.Error as error:
            log.error("pictures cannot be sent: %s", error)

    def _a_bundle_comes(self, now: float) -> bool:
        said = self._shadow.reported
        if said.state != "downloading":
            self._fetched = None
            return False
        fetched = (said.desired_version, said.done_bytes)
        if fetched != self._fetched:
            self._fetched, self._fetched_at = fetched, now
        return now - self._fetched_at < STALLED_S

    def _send(self, picture: Picture, publish: Publish, now: float) -> None:
        try:
            payload = encode(self._message(picture))
        except (OSError, MessageError) as error:
            log.warning("picture %s of item %s is not sent: %s", picture.name, picture.item, error)
            self._extras.done(picture.item, picture.name)
            return
        if publish(Channel.EVIDENCE, payload):
            self._under_way, self._sent_at = (picture.item, picture.name), now

    def _message(self, picture: Picture) -> Evidence:
        root = self._folder.resolve()
        path = (root / picture.name).resolve()
        if not path.is_relative_to(root):
            raise MessageError("it lies outside the evidence folder")
        data = path.read_bytes()
        if len(data) > PICTURE_MOST:
            raise MessageError(f"{len(data)} bytes are too many")
        digest = hashlib.sha256(data).hexdigest()
        return Evidence(item=picture.item, name=picture.name, sha256=digest, data=data)
