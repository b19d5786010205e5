"""Run the pipeline over a recording, as fast as it goes, and say what happened.

Deterministic: the same recording, configuration and bundle give the same events. Everything is
written beside the place where it belongs and moved there once it is whole, so that a replay that
fails leaves nothing behind. Called by `shelfgate replay`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge import pipeline
from edge.ahead import ahead
from edge.bookkeeper import charge_of
from edge.capture import at_hand, open_source
from edge.config import CameraSettings, Config
from edge.events import DecidedEvent
from edge.evidence import EvidenceFolder, EvidenceRefused
from edge.ledger import Ledger
from edge.recording import Recording
from edge.source import Source
from models.bundle import Bundle

SESSION = "replay"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a recording gave.

    events, carts, report: as `events.jsonl`, `carts.json` and `report.json` hold them.
    cut: one line where the recording was cut off, None where it is whole.
    """

    events: list[dict[str, Any]]
    carts: list[dict[str, Any]]
    report: dict[str, Any]
    cut: str | None


class ReplayError(Exception):
    """The results could not be written; the message says why."""


def replay(
    config: Config,
    camera: CameraSettings,
    bundle: Bundle,
    out: Path | None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Replayed:
    """Replay camera.source; write the results to the folder out, made anew, where one is given.

    progress: called with frames done and frames there are, None where that is not known.
    Raises CaptureError, ZoneError, DetectorError, LedgerError or ReplayError.
    """
    parent = None if out is None else out.parent
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".replay-", dir=parent) as folder:
            result = _run(config, camera, bundle, Path(folder), progress)
            if out is not None:
                _publish(result, Path(folder), out)
            return result
    except EvidenceRefused as error:
        raise ReplayError(f"{error}; nothing was written") from error
    except OSError as error:
        where = out or tempfile.gettempdir()
        reason = (error.strerror or str(error)).lower()
        raise ReplayError(f"{where}: {reason}; nothing was written") from error


def _run(
    config: Config,
    camera: CameraSettings,
    bundle: Bundle,
    folder: Path,
    progress: Callable[[int, int | None], None],
) -> Replayed:
    with ExitStack() as parts:
        source = open_source(camera)
        parts.callback(source.stop)
        stages = pipeline.build(config, at_hand(camera, source), bundle, viewed=False)
        total = source.frames if isinstance(source, Recording) else None
        started = time.perf_counter()
        frames, last_s, decided = _feed(source, stages, lambda n: progress(n, total))
        wall_s = time.perf_counter() - started
        cut = source.cut if isinstance(source, Recording) else None
    evidence = EvidenceFolder(folder / "evidence", config.ledger.min_free_mb)
    kept = [evidence.keep(one.event_id, one.event) for one in decided]
    carts = _carts(config.device.id, bundle, folder, list(zip(decided, kept, strict=True)))
    stages_ms = stages.times.summary()
    report = {
        "frames": frames,
        "wall_s": round(wall_s, 3),
        "fps": round(frames / wall_s, 1) if wall_s else 0.0,
        "realtime_factor": round(last_s / wall_s, 2) if wall_s else 0.0,
        "stages_ms": stages_ms,
        "stage_frames": {name: int(stage["calls"]) for name, stage in stages_ms.items()},
    }
    events = [as_line(one, names) for one, names in zip(decided, kept, strict=True)]
    return Replayed(events, carts, report, cut)


def _carts(
    device: str, bundle: Bundle, folder: Path, kept: list[tuple[DecidedEvent, tuple[str, ...]]]
) -> list[dict[str, Any]]:
    """Book events, each with the names of its pictures, for one shopper; return the carts."""
    with closing(Ledger(folder / "ledger.db", device, timeline=SESSION)) as ledger:
        ledger.open_session(SESSION, 0.0)
        for decided, names in kept:
            charge = charge_of(bundle, decided.decision)
            ledger.book(decided, charge.provenance, names, charge.price_minor, charge.currency)
        return [msgspec.to_builtins(ledger.cart(SESSION))]


def _feed(
    source: Source, stages: pipeline.CameraPipeline, progress: Callable[[int], None]
) -> tuple[int, float, list[DecidedEvent]]:
    """Feed every frame; return how many there were, the last one's time, and the events."""
    frames, last_s = 0, 0.0
    decided: list[DecidedEvent] = []
    with closing(ahead(_sensed(source, stages))) as ready:
        for sensed in ready:
            decided += stages.take(sensed)
            frames, last_s = frames + 1, sensed.frame.time_s
            if frames % 25 == 0:
                progress(frames)
    decided += stages.finish()
    return frames, last_s, decided


def _sensed(source: Source, stages: pipeline.CameraPipeline) -> Iterator[pipeline.Sensed]:
    reading = time.perf_counter()
    for frame in source:
        stages.times.add("decode", time.perf_counter() - reading)
        yield stages.sense(frame)
        reading = time.perf_counter()


def as_line(decided: DecidedEvent, evidence: tuple[str, ...]) -> dict[str, Any]:
    """Return a decided event as a line of `events.jsonl`."""
    event, decision = decided.event, decided.decision
    return {
        "event_id": decided.event_id,
        "kind": event.kind.value,
        "time_s": round(event.time_s, 3),
        "decided_s": round(event.decided_s, 3),
        "camera": event.camera,
        "zone": event.zone,
        "box": [round(value, 1) for value in event.box],
        "quantity": event.quantity,
        "sku": decision.sku,
        "decision": decision.verdict.value,
        "distance": round(decision.distance, 4),
        "evidence": [f"evidence/{name}" for name in evidence],
    }


def _publish(result: Replayed, folder: Path, out: Path) -> None:
    """Move the results to where they belong, in place of an earlier replay's."""
    ready = folder / "out"
    ready.mkdir()
    lines = "".join(json.dumps(event) + "\n" for event in result.events)
    (ready / "events.jsonl").write_text(lines)
    (ready / "carts.json").write_text(json.dumps(result.carts, indent=1) + "\n")
    (ready / "report.json").write_text(json.dumps(result.report, indent=1) + "\n")
    if (folder / "evidence").is_dir():
        (folder / "evidence").rename(ready / "evidence")
    out.mkdir(exist_ok=True)
    for name in ("events.jsonl", "carts.json", "report.json", "evidence"):
        old = out / name
        if old.is_dir():
            shutil.rmtree(old)
        if (ready / name).exists():
            (ready / name).rename(old)
