"""A hub with everything a hub can have, and devices that answer whatever they are told."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType

import paho.mqtt.client as paho
import uvicorn

from cloud_sync.hub.app import create_app
from cloud_sync.hub.audit import THE_HUB, Role
from cloud_sync.hub.authority import Authority
from cloud_sync.hub.broker_setup import BrokerSetup
from cloud_sync.hub.courier import Courier
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.enrolments import Enrolments
from cloud_sync.hub.evidence import EvidenceRoom, PictureStore
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from cloud_sync.hub.tokens import Tokens
from cloud_sync.messages import Reply, encode
from cloud_sync.mqtt import make_client, publish_properties
from cloud_sync.topics import Channel, every_device
from tests.cloud_sync.a_device import until


class AnsweringDevices:
    """Says "done" to every command to every device, so that nobody waits for one that is none."""

    def __init__(self, port: int) -> None:
        self._client = make_client("answering-devices")
        self._client.on_connect = lambda client, *_: client.subscribe(
            every_device(Channel.COMMANDS), qos=1
        )
        self._client.on_message = self._answer
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _answer(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        properties = publish_properties(correlation=message.properties.CorrelationData)
        topic = message.properties.ResponseTopic
        client.publish(topic, encode(Reply(ok=True)), qos=1, properties=properties)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class WholeHub:
    """Ingest, API, steward, enrolments and pictures at a broker; a context manager.

    url: where its API is. admin: headers of an admin's token.
    """

    def __init__(self, folder: Path, broker_port: int, *, is_open: bool = False) -> None:
        self.engine = open_database(str(folder / "hub.db"))
        migrate(self.engine)
        authority = Authority.make(folder / "broker")
        BrokerSetup(folder / "broker", authority).make(["127.0.0.1"])
        self.enrolments = Enrolments(self.engine, authority)
        pictures = PictureStore(str(folder / "pictures"))
        self.courier = Courier("127.0.0.1", broker_port, "whole")
        self.app = create_app(
            self.engine,
            Ingest(Store(self.engine, pictures=pictures), "127.0.0.1", broker_port, "whole"),
            self.courier,
            enrolments=self.enrolments,
            evidence=EvidenceRoom(self.engine, pictures),
            is_open=is_open,
        )
        self._devices = AnsweringDevices(broker_port)
        _, text = Tokens(self.engine).create(THE_HUB, "ada", Role.ADMIN, 1.0)
        self.admin = {"Authorization": f"Bearer {text}"}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def __enter__(self) -> WholeHub:
        self._thread.start()
        until(lambda: self._server.started and self.courier.is_up)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._devices.stop()
