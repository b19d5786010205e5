"""Serve the status page from a thread of its own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from threading import Event, Thread

import uvicorn

from edge.status.app import Shop, create_app
from edge.status.stream import StateStream
from edge.status.view import to_json

STOP_S = 5.0


class PageError(Exception):
    """The page cannot be served; the message says why."""


class StatusServer:
    """The status page, listening as soon as it is made and answering once it is started.

    port: 0 takes a free one; `url` says which.
    Raises PageError where the address cannot be had.
    """

    def __init__(self, shop: Shop, host: str = "127.0.0.1", port: int = 8080) -> None:
        self._shop = shop
        self._socket = _listen(host, port)
        self._started = Event()
        self._failure: BaseException | None = None
        self._server: uvicorn.Server | None = None
        self._thread = Thread(target=self._run, name="status-page", daemon=True)
        self.port: int = self._socket.getsockname()[1]
        shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host
        self.url = (
            f"http://[{shown}]:{self.port}/" if ":" in shown else f"http://{shown}:{self.port}/"
        )

    @property
    def failure(self) -> BaseException | None:
        """What stopped the page, None while nothing did."""
        return self._failure

    def start(self) -> None:
        """Start answering. Raises PageError if the server does not come up."""
        self._thread.start()
        if not self._started.wait(10.0) or self._failure is not None:
            reason = self._failure or "no answer in 10 s"
            cause = self._failure or TimeoutError()
            raise PageError(f"the status page did not start: {reason}") from cause

    def stop(self) -> None:
        """Stop answering and give the port back; harmless when it was never started."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # the thread ends here: what ended it is kept for the owner
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        stream = StateStream(lambda: to_json(self._shop.state()))
        config = uvicorn.Config(
            create_app(self._shop, stream),
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=20,
            limit_concurrency=256,
            h11_max_incomplete_event_size=16384,
        )
        self._server = uvicorn.Server(config)
        watcher = asyncio.create_task(stream.run())
        ready = asyncio.create_task(self._announce(self._server, stream))
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for task in (watcher, ready):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _announce(self, server: uvicorn.Server, stream: StateStream) -> None:
        while not server.started:
            await asyncio.sleep(0.01)
        self._started.set()
        while not server.should_exit:
            await asyncio.sleep(0.1)
        stream.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PageError(f"the status page cannot listen on {host}:{port}: {error}") from error
    listener.setblocking(False)
    return listener
