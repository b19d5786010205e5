"""What a person at the hub asks of a device: written down first, then told; the device decides.

Called by the API's routes and by the commands.
"""

from __future__ import annotations

from sqlalchemy import Engine

from cloud_sync.hub.audit import Audit, Who
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.fleet_answers import ReplyAnswer
from cloud_sync.messages import SendEvidence, SettleItem, encode
from cloud_sync.topics import Address

REPLY_S = 5.0


class Orders:
    """courier: the way to the devices; it must be up, or nobody hears what is asked.

    Both raise MessageError, before anything is written down, where what is asked cannot be said.
    """

    def __init__(self, engine: Engine, courier: Courier) -> None:
        self._engine = engine
        self._courier = courier

    def settle(
        self, who: Who, address: Address, item: str, sku: str | None, session: str | None
    ) -> ReplyAnswer:
        """Say what an item was and whose; sku and session None: it was nothing to charge."""
        by = f"{who.role.value} {who.name}"[:300]
        command = SettleItem(item=item, sku=sku, session=session, by=by)
        return self._tell(who, "review.settle", address, command, sku=sku, session=session)

    def send_evidence(self, who: Who, address: Address, item: str) -> ReplyAnswer:
        """Ask for an item's pictures; they come when the device's line is quiet."""
        return self._tell(who, "evidence.ask", address, SendEvidence(item=item))

    def _tell(
        self,
        who: Who,
        action: str,
        address: Address,
        command: SettleItem | SendEvidence,
        **detail: str | None,
    ) -> ReplyAnswer:
        encode(command)
        detail["item"] = command.item
        with self._engine.begin() as connection:
            Audit(self._engine).write(connection, who, action, str(address), **detail)
        reply = self._courier.ask(address, command, REPLY_S)
        if reply is None:
            return ReplyAnswer(answered=False, ok=False, detail="the device does not answer")
        return ReplyAnswer(answered=True, ok=reply.ok, detail=reply.detail)
