"""The device's side of the line: its outbox to the hub, and commands to the appliance.

An entry is sent at QoS 1, in a bounded window, and stays in the outbox until the hub itself has
acknowledged it; what is not acknowledged in time, or was under way when the line broke, is sent
again. The MQTT client's own memory is never the only place where an entry is, and is emptied at
every connect. The appliance runs an agent in its own process and knows it through a protocol class.

Two threads: the MQTT client's, which only puts what comes in into a bounded queue (and waits where
it is full), and the agent's own, which does everything else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from cloud_sync.device.extras import Extras, Limits
from cloud_sync.device.happenings import (
    Asked,
    Connected,
    Disconnected,
    Happening,
    LinkState,
    NobodyListens,
    Refused,
)
from cloud_sync.device.lane import Lane
from cloud_sync.device.outbox import Outbox
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.unread import UnreadFolder
from cloud_sync.device.window import Window
from cloud_sync.messages import (
    Ack,
    AnyMessage,
    Command,
    Desired,
    EvidenceAck,
    MessageError,
    Reply,
    Resend,
    SendEvidence,
    Telemetry,
    Unread,
    decode,
    decode_as,
    encode,
)
from cloud_sync.mqtt import (
    Certificates,
    Client,
    connect_properties,
    make_client,
    publish_properties,
    refused,
    taken,
)
from cloud_sync.topics import Address, Channel
from edge.ledger import LedgerError

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long the broker keeps commands for a device that is away."""

REPLY_S = 300
"""How long an answer is of use to whoever asked."""

INBOX = 1_000
POLL_S = 0.1
LOOK_S = 0.5
NO_MATCHING_SUBSCRIBERS = 0x10


class Agent:
    """Keeps a device's ledger and the hub in step.

    on_command: carries out a command and gives the answer; called in the agent's thread. It must
        be safe to be called twice with the same command.
    window: entries under way at most. resend_after_s: how long the hub may take before an entry is
        sent again; doubles while it does not answer.
    keepalive_s: how soon a dead line is noticed. telemetry_s: how often the state is published.
    shadow: what the hub wants and the device is; kept beside the ledger where it is not given.
    limits: when what is no entry of the ledger makes room.
    certificates: how the two ends of the line prove who they are; None for a line in the clear.
    Raises LedgerError where the ledger cannot be opened, MessageError where site or device cannot
    be names.
    """

    def __init__(
        self,
        ledger_path: Path,
        host: str,
        port: int,
        device: str,
        site: str,
        on_command: Callable[[Command], Reply],
        *,
        window: int = 256,
        resend_after_s: float = 10.0,
        keepalive_s: int = 15,
        telemetry_s: float = 30.0,
        software: str = "unknown",
        bundle: Callable[[], str | None] = lambda: None,
        shadow: Shadow | None = None,
        certificates: Certificates | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._address = Address(site, device)
        self._outbox = Outbox(ledger_path, device)
        self._on_command = on_command
        self._host, self._port, self._keepalive_s = host, port, keepalive_s
        self._telemetry_s = telemetry_s
        self._telemetry_at = self._look_at = self._logged_at = 0.0
        self._software, self._bundle = software, bundle
        self._most = window
        self._window = Window(self._outbox, window, resend_after_s)
        self._inbox: queue.Queue[Happening] = queue.Queue(INBOX)
        self._connection = ""
        state_dir = ledger_path.parent
        extras = Extras(state_dir / "extras.db", limits or Limits())
        self._shadow = shadow or Shadow(state_dir / "desired.json")
        self._lane = Lane(self._outbox, extras, state_dir / "evidence", self._shadow)
        self._shadow_told = 0
        self._unread = UnreadFolder(state_dir / "unread")
        self._shadow.report(**self._unread.counts)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._state = LinkState(False, self._outbox.depth(), None, "not connected yet")
        self._client = self._make_client(certificates)

    @property
    def state(self) -> LinkState:
        """How the line is; safe to read from any thread."""
        return self._state

    def start(self) -> None:
        """Begin; returns at once, and connects whenever the broker can be reached."""
        self._client.connect_async(
            self._host,
            self._port,
            keepalive=self._keepalive_s,
            clean_start=False,
            properties=connect_properties(SESSION_EXPIRY_S),
        )
        self._thread.start()
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye and end; what the hub does not have stays in the outbox."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
            if self._state.up:
                # A line that breaks now takes no goodbye; the broker says it, as the last will.
                taken(self._publish_telemetry(online=False), 2.0)
            self._client.disconnect()
            self._client.loop_stop()
        self._state = replace(self._state, up=False, problem="stopped")
        self._lane.close()
        self._outbox.close()

    def come_anew(self) -> None:
        """Break the line; it comes back with the certificate that is there then."""
        self._client.hang_up()

    def _make_client(self, certificates: Certificates | None) -> Client:
        address = self._address
        client = make_client(f"shelfgate/{address.site}/{address.device}", certificates)
        client.on_pre_connect = self._before_connecting
        client.on_connect = self._when_connected
        client.on_disconnect = self._when_disconnected
        client.on_connect_fail = lambda *_: self._put(Disconnected("the broker does not answer"))
        client.on_subscribe = self._when_subscribed
        client.on_publish = self._when_published
        client.on_message = self._when_message
        return client

    # The MQTT client's thread.

    def _before_connecting(self, client: mqtt.Client, _: Any) -> None:
        """Leave a will that names this connection and no other."""
        self._connection = uuid.uuid4().hex[:16]
        try:
            will = encode(self._telemetry(False))
        except LedgerError as error:
            log.error("no last will: %s", error)
            return
        client.will_set(self._address.topic(Channel.TELEMETRY), will, qos=1, retain=True)

    def _when_connected(
        self, client: mqtt.Client, _: Any, __: Any, reason: Any, properties: Any
    ) -> None:
        client.drop_out_messages()
        if reason.is_failure:
            self._put(Disconnected(f"the broker refuses us: {reason}"))
            return
        channels = (Channel.ACKS, Channel.COMMANDS, Channel.DESIRED)
        client.subscribe([(self._address.topic(one), 1) for one in channels])
        self._put(Connected(getattr(properties, "ReceiveMaximum", 65_535)))

    def _when_disconnected(self, _: mqtt.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self._put(Disconnected(f"the line broke: {reason}"))

    def _when_published(self, _: mqtt.Client, __: Any, ___: int, reason: Any, ____: Any) -> None:
        if reason is None:
            return
        if reason.value == NO_MATCHING_SUBSCRIBERS:
            self._put(NobodyListens())
        elif reason.is_failure:
            self._put(Refused(f"the broker refuses what we send: {reason}"))

    def _when_subscribed(self, _: mqtt.Client, __: Any, ___: int, reasons: Any, ____: Any) -> None:
        if problem := refused(reasons):
            self._put(Refused(problem))

    def _when_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._address.topic(Channel.ACKS):
            try:
                said = self._read(bytes(message.payload))
                if not isinstance(said, Ack | EvidenceAck | Resend):
                    raise MessageError(f"a {type(said).__name__} where an Ack belongs")
                self._put(said)
            except MessageError as error:
                log.warning("an acknowledgement that cannot be read: %s", error)
        elif message.topic == self._address.topic(Channel.DESIRED):
            try:
                self._put(decode_as(Desired, bytes(message.payload)))
            except MessageError as error:
                self._unread.keep(bytes(message.payload), str(error))
        else:
            reply_to = getattr(message.properties, "ResponseTopic", None)
            correlation = getattr(message.properties, "CorrelationData", None)
            self._put(Asked(bytes(message.payload), reply_to, correlation))

    def _put(self, happening: Happening) -> None:
        while not self._stopping.is_set():
            try:
                self._inbox.put(happening, timeout=0.5)
                return
            except queue.Full:
                continue

    def _read(self, payload: bytes) -> AnyMessage | Unread:
        """Read a payload; keep one of a newer schema. Raises MessageError where it is none."""
        message = decode(payload)
        if isinstance(message, Unread):
            head = message.head
            self._unread.keep(payload, f"schema {head.schema}, {head.type}")
        return message

    # The agent's thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take_in()
                if self._state.up:
                    self._window.send(self._publish)
                    self._tell()
                    self._lane.send(self._publish_extra, quiet=self._window.is_quiet)
                self._look()
            except LedgerError as error:
                log.error("%s", error)
                self._state = replace(self._state, problem=str(error))
                self._stopping.wait(1.0)

    def _take_in(self) -> None:
        """Wait a moment for what comes in, then take all of it."""
        acks: list[Ack] = []
        happening: Happening | None
        try:
            happening = self._inbox.get(timeout=POLL_S)
        except queue.Empty:
            happening = None
        while happening is not None:
            if isinstance(happening, Ack):
                acks.append(happening)
            else:
                self._take(happening)
            try:
                happening = self._inbox.get_nowait()
            except queue.Empty:
                happening = None
        ours = [ack for ack in acks if ack.ledger == self._outbox.ledger_id]
        if ours:
            self._window.done([one for ack in ours for one in ack.ranges])
            self._state = replace(self._state, hub_at=time.time(), problem=None)

    def _take(self, happening: Happening) -> None:
        if isinstance(happening, Asked):
            self._answer(happening)
        elif isinstance(happening, Desired):
            self._want(happening)
        elif isinstance(happening, EvidenceAck):
            self._lane.kept(happening)
        elif isinstance(happening, Refused):
            log.error("%s", happening.problem)
            self._state = replace(self._state, problem=happening.problem)
        elif isinstance(happening, Resend):
            if happening.ledger == self._outbox.ledger_id:
                count = self._window.again(happening.ranges)
                log.warning("the hub misses entries; %d are sent again", count)
        elif isinstance(happening, NobodyListens):
            self._window.nobody_listens()
            self._state = replace(self._state, problem="no hub listens at the broker")
        elif isinstance(happening, Disconnected):
            if self._state.up or self._state.problem != happening.problem:
                log.info("%s", happening.problem)
            self._state = replace(self._state, up=False, problem=happening.problem)
        elif isinstance(happening, Connected):
            self._shadow_told = 0
            self._window.restart(min(self._most, max(1, happening.receive_maximum - 4)))
            self._telemetry_at = 0.0
            self._state = replace(self._state, up=True, problem=None)
            log.info("connected to %s:%d", self._host, self._port)

    def _answer(self, asked: Asked) -> None:
        try:
            command = self._read(asked.payload)
            if isinstance(command, SendEvidence):
                count = self._lane.ask(command.item)
                reply = Reply(ok=count > 0, detail=f"{count} pictures are on their way")
            elif isinstance(command, Command):
                reply = self._on_command(command)
            else:
                what = type(command).__name__
                if isinstance(command, Unread):
                    what = f"schema {command.head.schema} is newer than ours, it is kept"
                reply = Reply(ok=False, detail=f"not a command: {what}")
        except (MessageError, LedgerError) as error:
            reply = Reply(ok=False, detail=str(error)[:2_000])
        topic = asked.reply_to or self._address.topic(Channel.REPLIES)
        properties = publish_properties(correlation=asked.correlation, expiry_s=REPLY_S)
        try:
            self._client.publish(topic, encode(reply), qos=1, properties=properties)
        except ValueError as error:
            log.warning("a reply cannot be sent to %r: %s", topic, error)

    def _publish(self, payload: bytes) -> bool:
        topic = self._address.topic(Channel.EVENTS)
        return self._client.publish(topic, payload, qos=1).rc == mqtt.MQTT_ERR_SUCCESS

    def _want(self, desired: Desired) -> None:
        try:
            self._shadow.take(desired)
        except OSError as error:
            log.error("the hub's wish cannot be kept: %s", error)

    def _publish_extra(self, channel: Channel, payload: bytes) -> bool:
        topic = self._address.topic(channel)
        return self._client.publish(topic, payload, qos=1).rc == mqtt.MQTT_ERR_SUCCESS

    def _tell(self) -> None:
        now = time.monotonic()
        self._shadow.report(**self._unread.counts)
        if self._shadow.changes != self._shadow_told:
            self._shadow_told = self._shadow.changes
            topic = self._address.topic(Channel.REPORTED)
            self._client.publish(topic, encode(self._shadow.reported), qos=1, retain=True)
        if now - self._telemetry_at >= self._telemetry_s or self._telemetry_at == 0.0:
            self._telemetry_at = now
            self._publish_telemetry(online=True)

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._state = replace(self._state, waiting=self._outbox.depth())
            self._lane.look(self._state.waiting)
            if not self._state.up and now - self._logged_at >= self._telemetry_s:
                self._logged_at = now
                self._lane.note(encode(self._telemetry(False, self._state.problem or "")))

    def _publish_telemetry(self, online: bool) -> mqtt.MQTTMessageInfo:
        topic = self._address.topic(Channel.TELEMETRY)
        return self._client.publish(topic, encode(self._telemetry(online)), qos=1, retain=True)

    def _telemetry(self, online: bool, problem: str = "") -> Telemetry:
        return Telemetry(
            online=online,
            connection=self._connection or None,
            at=time.time(),
            ledger=self._outbox.ledger_id,
            waiting=self._outbox.depth(),
            last_sequence=self._outbox.last_sequence(),
            software=self._software,
            bundle=self._bundle(),
            problem=problem[:300],
        )
