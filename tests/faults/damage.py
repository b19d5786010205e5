"""Any bytes, and real ones that something happened to: what a decoder may be given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = 20 if os.environ.get("SHELFGATE_FAULTS") == "full" else 1
"""SHELFGATE_FAULTS=full tries twenty times as much."""

ODD = (
    *("null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", '""', "[]", "{}", '"x"'),
    *(str(2**53 + 1), str(2**63), str(2**70), "9" * 5_000, '"\\u0000"', '"\\ud800"'),
    *('"../../etc/passwd"', '"/etc/passwd"', '"a/b"', "[[]]", '[null, {"a": 1}]', "1e308"),
    *("[" * 3_000 + "]" * 3_000, '"' + "x" * 5_000 + '"', '"2026-13-40T00:00:00Z"'),
)
"""JSON that stands where something else belongs."""


def tries(count: int) -> Callable[[Any], Any]:
    """Say how often a test tries; slow machines are no failures here."""
    return settings(
        max_examples=count * TIMES, deadline=None, suppress_health_check=list(HealthCheck)
    )


def survives(call: Callable[[], object], *stated: type[Exception]) -> None:
    """Call; what is raised must be one of the errors that the callee names."""
    try:
        call()
    except stated:
        return


@st.composite
def damaged(draw: st.DrawFn, contents: tuple[bytes, ...]) -> bytes:
    """Give one of the contents after a few accidents, or bytes of nobody's."""
    content = bytearray(draw(st.sampled_from(contents)))
    how = draw(st.sampled_from(("bytes", "bytes", "json", "json", "json", "anything")))
    if how == "anything":
        return draw(st.binary(max_size=300))
    if how == "json":
        return odd_json(draw, bytes(content))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        more = draw(st.integers(0, 40))
        what = draw(st.sampled_from(("change", "cut", "remove", "insert", "double")))
        if what == "change":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif what == "cut":
            del content[at:]
        elif what == "remove":
            del content[at : at + more]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=8))
        else:
            content[at:at] = content[at : at + more]
    return bytes(content)


def odd_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Put something odd somewhere into JSON; what is none stays as it is."""
    try:
        tree = json.loads(content)
    except ValueError:
        return content
    places = list(_places(tree, ()))
    if not places:
        return content
    *way, last = draw(st.sampled_from(places))
    holder = tree
    for step in way:
        holder = holder[step]
    if isinstance(holder, dict) and draw(st.integers(0, 5)) == 0:
        del holder[last]
        return json.dumps(tree).encode()
    holder[last] = "@odd@"
    return json.dumps(tree).replace('"@odd@"', draw(st.sampled_from(ODD)), 1).encode()


def _places(tree: Any, way: tuple[Any, ...]) -> Any:
    inside = tree.items() if isinstance(tree, dict) else ()
    inside = enumerate(tree) if isinstance(tree, list) else inside
    for key, value in inside:
        yield (*way, key)
        yield from _places(value, (*way, key))
