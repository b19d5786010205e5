"""Open a camera or a recording as the configuration names it.

The first stage: everything later receives `Frame`s and knows nothing of where they come from.
"""

from __future__ import annotations

from dataclasses import replace

from edge.config import CameraSettings
from edge.live import LiveSource
from edge.recording import Recording
from edge.source import CaptureError, Health, Source, State, is_recording

__all__ = [
    "CaptureError",
    "Health",
    "LiveSource",
    "Recording",
    "Source",
    "State",
    "at_hand",
    "open_source",
]


def open_source(camera: CameraSettings) -> Source:
    """Return the camera's frames.

    Raises CaptureError where a recording holds no video; a live camera that does not answer is no
    error: its health says so, and it is tried again.
    """
    if is_recording(camera.source):
        return Recording(camera.source, camera.id, real_time=camera.pace == "real")
    return LiveSource(camera.source, camera.id)


def at_hand(camera: CameraSettings, source: Source) -> CameraSettings:
    """Return a camera as its opened source reads it: a recording from the file on this machine."""
    if isinstance(source, Recording):
        return replace(camera, source=str(source.file))
    return camera
