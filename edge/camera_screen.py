"""What the page shows of one camera: its health in words, its newest picture with what was found.

Reads the worker's newest view; never waits for it.
"""

from __future__ import annotations

import secrets

from edge.camera_worker import CameraWorker
from edge.source import State
from edge.status import view
from edge.status.picture import CameraPicture, DrawnBox, ZoneOutline

_START = secrets.token_hex(3)
"""Tells the pictures of this start from those of an earlier one, whose numbers began at 0 too."""


def camera_state(worker: CameraWorker) -> view.CameraState:
    """Return how one camera is."""
    health, progress, seen = worker.source.health, worker.progress, worker.pipeline.view()
    state: view.Health = health.state.value
    note = health.message
    if progress.failure:
        state, note = "failed", progress.failure
    elif state == "ok" and progress.frames == 0:
        state = "starting"
    return view.CameraState(
        camera=worker.source.camera,
        health=state,
        words=view.HEALTH_WORDS[state],
        since=round(health.since, 1),
        note=note,
        picture="" if seen.frame is None else picture_name(seen.frame.sequence),
        size=health.size,
        zones=tuple(zone.id for zone in seen.zones),
        capture_fps=0.0 if health.state is State.ENDED else round(health.fps, 1),
        frames=progress.frames,
        stage_ms={stage: round(ms, 1) for stage, ms in seen.stage_ms.items()},
    )


def camera_picture(worker: CameraWorker) -> CameraPicture | None:
    """Return a camera's newest picture, None before the first."""
    seen = worker.pipeline.view()
    if seen.frame is None:
        return None
    return CameraPicture(
        name=picture_name(seen.frame.sequence),
        image=seen.frame.image,
        zones=tuple(ZoneOutline(zone.id, zone.polygon) for zone in seen.zones),
        boxes=tuple(DrawnBox(one.box, one.label, one.score) for one in seen.detections),
    )


def picture_name(sequence: int) -> str:
    """Return a name that no other picture of this camera has."""
    return f"{_START}-{sequence}"
