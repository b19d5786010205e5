"""What a box and its hub say to each other when the box's certificate is to be renewed.

The box asks over a line that its present certificate opened; the answer is a certificate for the
same key, so it is of use to nobody else. Ground floor: imports none of ours but the messages.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from cloud_sync.certificate import PEM_MOST
from cloud_sync.messages import Message, MessageError

Pem = Annotated[str, msgspec.Meta(pattern=r"\A[\x20-\x7e\r\n]+\Z", max_length=PEM_MOST)]
LONGEST = 3 * PEM_MOST

M = TypeVar("M", bound=Message)


class RenewalAsk(Message, frozen=True, kw_only=True, tag="renewal_ask"):
    """A device wants its certificate renewed.

    certificate: the one it has, PEM. request: a certificate request by the same key, PEM.
    """

    certificate: Pem
    request: Pem


class Renewed(Message, frozen=True, kw_only=True, tag="renewed"):
    """The hub's answer: a certificate (PEM), or None and why there is none."""

    certificate: Pem | None = None
    problem: Annotated[str, msgspec.Meta(max_length=300)] = ""


_encoder = msgspec.json.Encoder()
_asks = msgspec.json.Decoder(RenewalAsk)
_answers = msgspec.json.Decoder(Renewed)


def encode_renewal(message: RenewalAsk | Renewed) -> bytes:
    """Give the bytes of an ask or of an answer."""
    return _encoder.encode(message)


def decode_renewal_ask(payload: bytes) -> RenewalAsk:
    """Read an ask. Raises MessageError for anything else."""
    return _decoded(_asks, payload)


def decode_renewed(payload: bytes) -> Renewed:
    """Read an answer. Raises MessageError for anything else."""
    return _decoded(_answers, payload)


def _decoded(decoder: msgspec.json.Decoder[M], payload: bytes) -> M:
    if len(payload) > LONGEST:
        raise MessageError(f"a payload of {len(payload)} bytes is too long")
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MessageError(f"no word about a renewal: {error}") from error
