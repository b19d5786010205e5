"""What light and sensor do to a picture: gain, colour, shadows, shake and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.simulate.scene import Image
from edge.simulate.settings import Lighting, Settings

NOISE_FIELDS = 6
NOISE_MARGIN = 24
MAP_SIZE = (48, 27)


class Light:
    """The light on the shelves over time, the same for the same seed."""

    def __init__(self, settings: Settings) -> None:
        self._mode = settings.lighting
        rng = np.random.default_rng([settings.seed, 71])
        self._phase = rng.uniform(0, 2 * np.pi, 4)
        self._period = rng.uniform(35, 70, 2)
        self._switches = self._planned(settings.duration_s, rng)
        self._shadow_s = np.arange(5.0, settings.duration_s, float(rng.uniform(7, 10)))

    def _planned(self, duration_s: float, rng: np.random.Generator) -> list[tuple[float, float]]:
        levels, time_s, switches = (1.0, 0.62, 0.8, 1.15), 0.0, [(0.0, 1.0)]
        while self._mode is Lighting.SWITCHING:
            time_s += float(rng.uniform(12, 30))
            if time_s > duration_s:
                break
            others = [level for level in levels if level != switches[-1][1]]
            switches.append((time_s, others[int(rng.integers(len(others)))]))
        return switches

    def gains(self, time_s: float) -> tuple[float, float, float]:
        """Return what blue, green and red are multiplied with at a time."""
        if self._mode is Lighting.DIM:
            return (0.40, 0.41, 0.43)
        if self._mode is Lighting.CHANGING:
            slow = np.sin(2 * np.pi * time_s / self._period[0] + self._phase[0])
            warm = np.sin(2 * np.pi * time_s / self._period[1] + self._phase[1])
            level = 0.92 + 0.20 * slow
            return (
                float(level * (1 - 0.05 * warm)),
                float(level),
                float(level * (1 + 0.05 * warm)),
            )
        if self._mode is Lighting.SWITCHING:
            level = self._switched(time_s)
            return (level, level, level)
        return (1.0, 1.0, 1.0)

    def _switched(self, time_s: float) -> float:
        past = [switch for switch in self._switches if switch[0] <= time_s]
        level = past[-1][1]
        before = past[-2][1] if len(past) > 1 else level
        share = min((time_s - past[-1][0]) / 0.2, 1.0)
        return before + (level - before) * share

    def shadow(self, time_s: float) -> NDArray[np.float32] | None:
        """Return a small map of what a passing shadow leaves of the light, None without one."""
        if self._mode is not Lighting.SHADOWS:
            return None
        lasting = 2.6
        for start in self._shadow_s:
            share = (time_s - start) / lasting
            if 0 <= share < 1:
                turn = 1 if int(start * 10) % 2 else -1
                middle = (0.5 + turn * (share - 0.5) * 2.0) * MAP_SIZE[0]
                columns = np.arange(MAP_SIZE[0], dtype=np.float32)
                lean = np.linspace(-4, 4, MAP_SIZE[1], dtype=np.float32)[:, None]
                away = (columns[None] + lean - middle) / 7.0
                return np.asarray(1 - 0.42 * np.exp(-(away**2)), dtype=np.float32)
        return None


class Sensor:
    """A camera's shake and noise; make a new one to see the same clip again."""

    def __init__(self, settings: Settings, camera: int) -> None:
        self._rng = np.random.default_rng([settings.seed, 73, camera])
        sigma = settings.noise * (2.0 if settings.lighting is Lighting.DIM else 1.0)
        shape = (settings.height + NOISE_MARGIN, settings.width + NOISE_MARGIN, 3)
        fields = NOISE_FIELDS if sigma > 0 else 0
        self._noise = [
            self._rng.normal(0, sigma, shape).round().astype(np.int16) for _ in range(fields)
        ]
        self._shake = settings.jitter_px
        self._shift = np.zeros(2)

    def expose(
        self, picture: Image, gains: tuple[float, float, float],
        shadow: NDArray[np.float32] | None,
    ) -> Image:  # fmt: skip
        """Return a picture as the camera delivers it."""
        if shadow is not None:
            size = (picture.shape[1], picture.shape[0])
            light = cv2.resize(np.dstack([shadow * 255] * 3), size).astype(np.uint8)
            picture = np.asarray(cv2.multiply(picture, light, scale=1 / 255), np.uint8)
        if gains != (1.0, 1.0, 1.0):
            levels = np.arange(256)[:, None] * np.array(gains)[None]
            table = np.clip(levels, 0, 255).astype(np.uint8).reshape(256, 1, 3)
            picture = np.asarray(cv2.LUT(picture, table), np.uint8)
        self._shift = 0.7 * self._shift + self._rng.normal(0, 0.714 * self._shake, 2)
        if self._shake > 0:
            matrix = np.array([[1.0, 0.0, self._shift[0]], [0.0, 1.0, self._shift[1]]])
            size = (picture.shape[1], picture.shape[0])
            picture = np.asarray(
                cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
            )
        if not self._noise:
            return picture.copy()
        field = self._noise[int(self._rng.integers(len(self._noise)))]
        y, x = (int(value) for value in self._rng.integers(0, NOISE_MARGIN, 2))
        cut = field[y : y + picture.shape[0], x : x + picture.shape[1]]
        return np.asarray(cv2.add(picture, cut, dtype=cv2.CV_8U), np.uint8)
