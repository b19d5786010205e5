"""Let a recording be read and sensed in one thread while the stages after it work in another.

OpenCV and numpy leave Python's lock while they compute, so two cores share the work of one camera.
The order stays, so the result does. Called by `edge.replay`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")

WAIT_S = 0.1


class _End:
    """Comes after the last item. error: what stopped the producer, None where it is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[Item], depth: int = 16) -> Generator[Item, None, None]:
    """Yield items, made up to depth of them ahead in a thread of their own.

    What the producer raises is raised here, after what came before it. Leaving early stops it.
    """
    ready: Queue[Item | _End] = Queue(depth)
    stopping = Event()

    def put(item: Item | _End) -> bool:
        while not stopping.is_set():
            try:
                ready.put(item, timeout=WAIT_S)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as raised:
            error = raised
        put(_End(error))

    thread = Thread(target=produce, name="reads-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopping.set()
        thread.join()
