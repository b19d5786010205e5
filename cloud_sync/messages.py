"""Every payload that crosses the broker, versioned and typed.

The device writes entries of its ledger (`SessionOpened`, `SessionClosed`, `ItemBooked`,
`LineSettled`) and its `Telemetry`; the hub answers with an `Ack`, or asks for what it misses
(`Resend`), and sends commands, which the device answers with a `Reply`. The same bytes lie in the
device's ledger, travel through the broker and are kept by the hub. Ground floor: imports none of
ours.

Bytes from outside are untrusted: `decode` checks size, types and ranges of everything it lets
through. A payload of a schema newer than ours comes back as `Unread`, raw, so that whoever reads
can keep it; the fields of `Head` keep their meaning in every future schema.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

import msgspec

SCHEMA = 1
"""The schema that we write. We read this one and older ones."""

MAX_PAYLOAD = 256 * 1024
"""Bytes; nothing we write comes near it, and nothing longer is looked at."""

NAME_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9._:@~-]{0,99}\Z"
"""Sites, devices, ledgers and sessions: safe in a topic, a URL and a file name."""

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
EventId = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,200}\Z")]
Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]+\Z", max_length=300)]
FileName = Annotated[
    str, msgspec.Meta(pattern=r"\A(?![/\\])(?!.*\.\.)[^\x00-\x1f]+\Z", max_length=300)
]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Minor = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Distance = Annotated[float, msgspec.Meta(ge=0.0, le=2.0)]

Kind = Literal["pick", "return"]
Verdict = Literal["accept", "refine", "reject", "review"]
Attribution = Literal["only_session", "holds_item", "no_session", "several_sessions", "settled"]


class MessageError(ValueError):
    """A payload is not what it should be; the text says where and why."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read of every payload of every schema."""

    schema: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    type: Text
    event_id: EventId | None = None
    ledger: Name | None = None
    sequence: Sequence | None = None


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A payload of a newer schema: kept as it came, to be read after an upgrade."""

    head: Head
    raw: bytes


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A payload of this schema."""

    schema: Annotated[int, msgspec.Meta(ge=1, le=SCHEMA)] = SCHEMA


class Entry(Message, frozen=True, kw_only=True):
    """A line of a device's append-only ledger.

    ledger: which ledger of the device; a wiped device starts a new one, and counts from 1 again.
    sequence: place in that ledger, from 1 and without gaps.
    recorded_at: Unix seconds by the device's clock, which may be wrong; order is by sequence.
    """

    event_id: EventId
    ledger: Name
    sequence: Sequence
    recorded_at: float


class SessionOpened(Entry, frozen=True, kw_only=True, tag="session_opened"):
    """A shopper came in, at stream time at_s."""

    session: Name
    at_s: float


class SessionClosed(Entry, frozen=True, kw_only=True, tag="session_closed"):
    """A shopper left: the cart is a receipt.

    total_minor, reviews: the device's own sum and count of open questions at that moment.
    """

    session: Name
    at_s: float
    total_minor: Minor
    currency: Currency | None
    reviews: Count


class Nearest(msgspec.Struct, frozen=True):
    """A product that the gate considered; cosine distance in [0, 2]."""

    sku: Text
    distance: Distance


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What decided: bundle, and the model and table of the group that was asked."""

    bundle: Text
    bundle_version: Text
    model: Text
    table: Text


class ItemBooked(Entry, frozen=True, kw_only=True, tag="item"):
    """An item left a shelf or came to it, with what the gate made of it.

    session: whose it is; None where nothing told the shoppers apart, and attribution says why.
    sku: None where decision is "reject" or "review".
    time_s, decided_s: when it happened and when the system was sure, in stream time.
    box: x1, y1, x2, y2 in pixels of the source frame.
    unit_price_minor, currency: of the sku in the bundle's catalogue; None where it has none.
    evidence: file names in the device's evidence folder.
    """

    kind: Kind
    session: Name | None
    attribution: Attribution
    sku: Text | None
    quantity: Quantity
    decision: Verdict
    distance: Distance
    nearest: Annotated[tuple[Nearest, ...], msgspec.Meta(max_length=50)]
    group: Annotated[str, msgspec.Meta(max_length=300)]
    unit_price_minor: Minor | None
    currency: Currency | None
    time_s: float
    decided_s: float
    camera: Text
    zone: Text
    box: tuple[float, float, float, float]
    evidence: Annotated[tuple[FileName, ...], msgspec.Meta(max_length=50)]
    provenance: Provenance


class LineSettled(Entry, frozen=True, kw_only=True, tag="settled"):
    """Somebody, or a later observation, said what an item was and whose.

    item: event id of the ItemBooked; the last settlement of an item counts.
    sku, session: both None where there was nothing to charge; the item is taken out.
    by: who said so.
    """

    item: EventId
    session: Name | None
    sku: Text | None
    unit_price_minor: Minor | None
    currency: Currency | None
    by: Text


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """The hub has committed these entries of a ledger: first and last sequence, inclusive."""

    ledger: Name
    ranges: Annotated[tuple[tuple[Sequence, Sequence], ...], msgspec.Meta(max_length=5_000)]


class Resend(Message, frozen=True, kw_only=True, tag="resend"):
    """The hub misses these entries of a ledger, which the device holds for done: send them again.

    A hub that was restored from a backup asks for what it had acknowledged since.
    """

    ledger: Name
    ranges: Annotated[tuple[tuple[Sequence, Sequence], ...], msgspec.Meta(max_length=1_000)]


class Telemetry(Message, frozen=True, kw_only=True, tag="telemetry"):
    """How a device is: its birth when it connects, from time to time, and its last will.

    waiting: entries that the hub has not acknowledged; last_sequence: newest entry of the ledger.
    connection: names one connection of the device, so that a will that comes late is not taken for
    the end of the next one. problem: what is wrong with the line, in the log of a time without one.
    """

    online: bool
    connection: Name | None = None
    at: float
    ledger: Name
    waiting: Count = 0
    last_sequence: Count = 0
    software: Text = "unknown"
    bundle: Text | None = None
    problem: Annotated[str, msgspec.Meta(max_length=300)] = ""


class OpenSession(Message, frozen=True, kw_only=True, tag="open_session"):
    """Command: a shopper comes in."""

    session: Name


class CloseSession(Message, frozen=True, kw_only=True, tag="close_session"):
    """Command: a shopper leaves."""

    session: Name


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    """A device's answer to a command; detail says what went wrong where ok is false."""

    ok: bool
    detail: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


# Steering a device: what it should be, what it is, and what a person asks of it.


class Desired(Message, frozen=True, kw_only=True, tag="desired"):
    """What the hub wants of a device; retained, so that one who was away finds it.

    version: rises with every change; a device takes no older one.
    bundle: "name version" of what it should run; None for whatever it has.
    rollout: which rollout says so.
    """

    version: Count
    bundle: Text | None = None
    rollout: Name | None = None


State = Literal["running", "downloading", "installing", "probation", "failed"]


class BundleMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """How a bundle did on a device since it was switched to.

    decisions: items decided; unknown: of those rejected as no product we know. errors: items that
    could not be decided. mean_ms: of a decision. restarts: times the appliance came back without
    having been told to stop. seconds: how long it has run.
    """

    decisions: Count = 0
    unknown: Count = 0
    errors: Count = 0
    mean_ms: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    restarts: Count = 0
    seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """What a device has made of it; retained.

    desired_version: the newest wish it knows, 0 for none. bundle: what runs now.
    state: "failed": the wish could not be fulfilled, failed_bundle and detail say which and why,
    and bundle is what it went on with.
    unread: payloads of newer schemas that it keeps because it cannot read them; unread_dropped:
    those that had to make room. evidence_dropped: items whose pictures had to go while needed.
    digest: SHA-256 of the manifest of what runs. done_bytes, total_bytes: of what is fetched.
    measures, before: of the bundle that runs, and of the one before it.
    """

    desired_version: Count = 0
    bundle: Text | None = None
    state: State = "running"
    failed_bundle: Text | None = None
    detail: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    unread: Count = 0
    unread_dropped: Count = 0
    evidence_dropped: Count = 0
    digest: Digest | None = None
    done_bytes: Count = 0
    total_bytes: Count = 0
    measures: BundleMeasures | None = None
    before: BundleMeasures | None = None


class SettleItem(Message, frozen=True, kw_only=True, tag="settle_item"):
    """Command: somebody at the hub says what an item was; sku and session None: it was nothing."""

    item: EventId
    sku: Text | None
    session: Name | None
    by: Text


class SendEvidence(Message, frozen=True, kw_only=True, tag="send_evidence"):
    """Command: somebody at the hub wants to see the pictures behind an item."""

    item: EventId


class Evidence(Message, frozen=True, kw_only=True, tag="evidence"):
    """A picture behind an item: a JPEG file (base64 in the JSON) and its SHA-256.

    name: as in the item's evidence. The hub acknowledges it by an EvidenceAck.
    """

    item: EventId
    name: FileName
    sha256: Digest
    data: Annotated[bytes, msgspec.Meta(max_length=180_000)]


class EvidenceAck(Message, frozen=True, kw_only=True, tag="evidence_ack"):
    """The hub keeps a picture."""

    item: EventId
    name: FileName


LedgerEntry = SessionOpened | SessionClosed | ItemBooked | LineSettled
Command = OpenSession | CloseSession | SettleItem | SendEvidence
Steering = Desired | Reported | Evidence | EvidenceAck
AnyMessage = LedgerEntry | Ack | Resend | Telemetry | Command | Reply | Steering

_encoder = msgspec.json.Encoder()
_head = msgspec.json.Decoder(Head)
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
_NAME = re.compile(NAME_PATTERN)

M = TypeVar("M", bound=Message)


def is_name(text: str) -> bool:
    """Say whether text can name a site, a device, a ledger or a session."""
    return _NAME.match(text) is not None


def encode(message: Message) -> bytes:
    """Give the bytes of a message.

    Raises MessageError where decode would not take them back.
    """
    try:
        payload = _encoder.encode(message)
        _decoder.decode(payload)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise MessageError(f"{type(message).__name__} cannot be sent: {error}") from error
    if len(payload) > MAX_PAYLOAD:
        raise MessageError(f"{type(message).__name__} is longer than {MAX_PAYLOAD} bytes")
    return payload


def decode(payload: bytes) -> AnyMessage | Unread:
    """Read bytes from anywhere.

    Raises MessageError for anything but a message of our schema or an older one (given typed) or
    of a newer one (given as Unread).
    """
    if len(payload) > MAX_PAYLOAD:
        raise MessageError(f"payload of {len(payload)} bytes is longer than {MAX_PAYLOAD}")
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        head = _peek(payload)
        if head is not None and head.schema > SCHEMA:
            return Unread(head=head, raw=payload)
        raise MessageError(f"not a message: {error}") from error


def decode_as(kind: type[M], payload: bytes) -> M:
    """Read bytes that must be one kind of message.

    Raises MessageError for anything else, a newer schema included.
    """
    message = decode(payload)
    if isinstance(message, Unread):
        raise MessageError(f"schema {message.head.schema} is newer than ours ({SCHEMA})")
    if not isinstance(message, kind):
        raise MessageError(f"a {type(message).__name__} where a {kind.__name__} belongs")
    return message


def _peek(payload: bytes) -> Head | None:
    try:
        return _head.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
