"""What each channel carries, and the JSON Schema of all of it.

`python -m cloud_sync.protocol` prints the schema; docs/protocol.schema.json is that. Ground floor:
imports nothing of ours but the messages.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from cloud_sync.blocks import Block, BlockAsk
from cloud_sync.messages import (
    Ack,
    AnyMessage,
    CloseSession,
    Desired,
    Evidence,
    EvidenceAck,
    ItemBooked,
    LineSettled,
    Message,
    OpenSession,
    Reply,
    Reported,
    Resend,
    SendEvidence,
    SessionClosed,
    SessionOpened,
    SettleItem,
    Telemetry,
)
from cloud_sync.renewal import RenewalAsk, Renewed
from cloud_sync.topics import Channel

CARRIES: dict[Channel, tuple[type[Message], ...]] = {
    Channel.TELEMETRY: (Telemetry,),
    Channel.EVENTS: (SessionOpened, SessionClosed, ItemBooked, LineSettled),
    Channel.ACKS: (Ack, Resend, EvidenceAck),
    Channel.COMMANDS: (OpenSession, CloseSession, SettleItem, SendEvidence),
    Channel.REPLIES: (Reply,),
    Channel.DESIRED: (Desired,),
    Channel.REPORTED: (Reported,),
    Channel.EVIDENCE: (Evidence,),
    Channel.LOG: (Telemetry,),
    Channel.ASKS: (BlockAsk,),
    Channel.BLOCKS: (Block,),
    Channel.RENEWALS: (RenewalAsk,),
    Channel.CERTIFICATES: (Renewed,),
}
"""Every payload that goes over MQTT, by its channel."""

PACKED = frozenset({Channel.BLOCKS})
"""Channels whose payloads are MessagePack; all others are JSON."""


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of every payload; `$defs` has one for each channel too.

    It says how a payload looks in JSON. In MessagePack it is the same, but for bytes, which are
    bytes there and base64 here.
    """
    schema = _plain(msgspec.json.schema(AnyMessage | BlockAsk | Block | RenewalAsk | Renewed))
    for channel, kinds in CARRIES.items():
        schema["$defs"][f"channel:{channel.value}"] = {
            "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _plain(part: Any) -> Any:
    r"""Give the same with patterns as JSON Schema writes them: ^ and $, not Python's \A and \Z."""
    if isinstance(part, dict):
        return {
            key: one.replace(r"\A", "^").replace(r"\Z", "$")
            if key == "pattern" and isinstance(one, str)
            else _plain(one)
            for key, one in part.items()
        }
    return [_plain(one) for one in part] if isinstance(part, list | tuple) else part


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
