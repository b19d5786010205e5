"""The appliance's HTTP interface, asked over a real socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import cv2
import httpx
import numpy as np
import pytest

from edge.status.server import PageError, StatusServer
from tests.web.memory_shop import MemoryShop, a_camera


@pytest.fixture
def client(server: StatusServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


def test_a_session_opens_and_closes(client: httpx.Client, shop: MemoryShop) -> None:
    opened = client.post("api/sessions", json={"session_id": "s-200"})
    closed = client.post("api/sessions/s-200/close", json={})

    assert (opened.status_code, closed.status_code) == (201, 200)
    assert shop.asked == [("open", "s-200"), ("close", "s-200")]


def test_the_state_and_the_carts_are_json(client: httpx.Client) -> None:
    state = client.get("api/state").json()
    carts = client.get("api/carts").json()["carts"]

    assert state["cameras"][0]["camera"] == "front"
    assert carts == state["carts"]
    assert carts[0]["total_minor"] == 6930


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 400),
        (b"[" * 2000, 400),
        (b'{"session_id": 7}', 422),
        (b'{"session_id": ""}', 422),
        (b'{"session_id": "../../etc"}', 422),
        (b'{"session_id": "a b"}', 422),
        (b'{"session_id": "s-1", "admin": "yes"}', 422),
        (b'{"session_id": "' + b"x" * 5000 + b'"}', 413),
        (b"\xff\xfe", 400),
        (b'{"session_id": "s-104"}', 409),
    ],
)
def test_a_wrong_request_gets_one_clear_line(
    client: httpx.Client, shop: MemoryShop, body: bytes, status: int
) -> None:
    answer = client.post("api/sessions", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert shop.asked == []


def test_a_form_of_another_site_cannot_open_a_session(
    client: httpx.Client, shop: MemoryShop
) -> None:
    fields = {"session_id": "s-1"}

    assert client.post("api/sessions", data=fields).status_code == 415
    foreign = client.post("api/sessions", json=fields, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    rebound = client.get("api/state", headers={"host": "evil.example"})
    assert rebound.status_code == 421
    assert shop.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "nowhere",
        "cameras/none.jpg",
        "evidence/demo/crop-9.jpg",
        "evidence/demo/edge.toml",
        "evidence/demo/..%2f..%2fsecret.jpg",
        "evidence/%2e%2e/secret.jpg",
        "evidence/..%2f/crop-0.jpg",
        "page.html%00",
    ],
)
def test_what_is_not_there_or_not_to_be_seen_is_404_or_422(
    client: httpx.Client, shop: MemoryShop, path: str
) -> None:
    for file in (shop.folder / "demo" / "edge.toml", shop.folder.parent / "secret.jpg"):
        file.write_text("nobody's business")

    answer = client.get(path)

    assert answer.status_code in {404, 422}
    assert answer.json()["error"]
    assert "business" not in answer.text


def test_an_endless_address_is_refused(client: httpx.Client) -> None:
    assert client.get("api/products?q=" + "x" * 3000).status_code == 414


def test_a_picture_is_drawn_once_and_then_not_sent_again(
    client: httpx.Client, shop: MemoryShop
) -> None:
    first = client.get("cameras/front.jpg")
    again = client.get("cameras/front.jpg", headers={"if-none-match": first.headers["etag"]})
    shop.now = replace(shop.now, cameras=(a_camera(picture="front-2"),))
    newer = client.get("cameras/front.jpg", headers={"if-none-match": first.headers["etag"]})

    drawn = cv2.imdecode(np.frombuffer(first.content, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (360, 640, 3)
    assert np.abs(drawn.astype(int) - shop.image).max() > 60
    assert (again.status_code, again.content) == (304, b"")
    assert newer.status_code == 200


def test_a_camera_without_a_picture_says_so(client: httpx.Client, shop: MemoryShop) -> None:
    shop.now = replace(shop.now, cameras=(a_camera(picture=""),))

    answer = client.get("cameras/front.jpg")

    assert answer.status_code == 404
    assert "no picture yet" in answer.json()["error"]


def test_every_answer_forbids_foreign_content(client: httpx.Client) -> None:
    for path in ("", "page.js", "api/state", "nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_stream_sends_the_state_when_it_changes(client: httpx.Client, shop: MemoryShop) -> None:
    with client.stream("GET", "api/stream") as answer:
        lines = answer.iter_lines()
        first = next(line for line in lines if line.startswith("data: "))
        shop.now = replace(shop.now, site="Other store")
        second = next(line for line in lines if line.startswith("data: "))

    assert "Corner store" in first
    assert "Other store" in second


def test_the_server_stops_while_somebody_watches(server: StatusServer) -> None:
    with httpx.stream("GET", server.url + "api/stream", timeout=10) as answer:
        next(answer.iter_lines())  # it is connected
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3.0

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_taken_port_is_said_in_one_line(server: StatusServer, shop: MemoryShop) -> None:
    with pytest.raises(PageError, match=f"127.0.0.1:{server.port}"):
        StatusServer(shop, port=server.port)
