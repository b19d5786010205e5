"""A network camera for tests: a real HTTP server that streams MJPEG and misbehaves on request."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Mood = Literal["fine", "frozen", "black", "small", "tall", "silent", "hung up", "refusing"]
FPS = 15


class MjpegCamera:
    """Serves `address`; set `mood` to change what it does, at once and on open connections."""

    def __init__(self) -> None:
        self.mood: Mood = "fine"
        self.connections = 0
        self.tells_lengths = True
        self.logins: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._closing = threading.Event()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where the stream is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/stream"

    def close(self) -> None:
        """End the server and its connections."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _picture(self, number: int) -> NDArray[np.uint8]:
        if self.mood == "black":
            return np.random.default_rng(number).integers(0, 9, (240, 320, 3), dtype=np.uint8)
        if self.mood == "frozen":
            number = 0
        image = np.random.default_rng(number).integers(60, 200, (240, 320, 3), dtype=np.uint8)
        sizes = {"small": (160, 120), "tall": (160, 320)}
        return image if self.mood not in sizes else cv2.resize(image, sizes[self.mood])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                camera.logins.append(self.headers["Authorization"])
                if camera.mood == "refusing":
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    self._stream()
                except OSError:
                    return

            def _stream(self) -> None:
                number = 0
                while not camera._closing.is_set() and camera.mood not in ("hung up", "refusing"):
                    time.sleep(1 / FPS)
                    if camera.mood == "silent":
                        continue
                    number += 1
                    body = cv2.imencode(".jpg", camera._picture(number))[1].tobytes()
                    head = "--frame\r\nContent-Type: image/jpeg\r\n"
                    if camera.tells_lengths:
                        head += f"Content-Length: {len(body)}\r\n"
                    self.wfile.write(head.encode() + b"\r\n" + body + b"\r\n")

            def log_message(self, *args: object) -> None:
                pass

        return Handler
