"""A frozen, black or resized picture is told from one that is merely quiet or dark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.picture_watch import PictureWatch, is_black
from edge.source import State

FPS = 10


def noisy(level: int = 90, size: tuple[int, int] = (96, 72), seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(-3, 4, (size[1], size[0], 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def states(pictures: list[NDArray[np.uint8]]) -> list[State]:
    watch = PictureWatch()
    return [watch.look(picture, index / FPS).state for index, picture in enumerate(pictures)]


def test_a_quiet_scene_with_a_sensors_noise_is_fine() -> None:
    assert set(states([noisy(seed=n) for n in range(100)])) == {State.OK}


def test_identical_pictures_are_frozen_within_five_seconds_and_fine_when_they_move_again() -> None:
    seen = states([*[noisy()] * 51, noisy(seed=1)])
    assert seen[20] is State.OK
    assert seen[50] is State.FROZEN
    assert seen[51] is State.OK


def test_one_changed_pixel_anywhere_is_a_fresh_picture() -> None:
    pictures = [noisy() for _ in range(60)]
    for index, picture in enumerate(pictures):
        picture[3, 5, 1] = index
    assert set(states(pictures)) == {State.OK}


def test_black_is_noticed_within_five_seconds_and_a_dark_store_is_not_black() -> None:
    seen = states([noisy(6, seed=n) for n in range(51)])
    assert seen[10] is State.OK
    assert seen[50] is State.BLACK
    dim = noisy(8)
    dim[10:30, 10:30] = 60
    assert not is_black(dim)


def test_another_size_is_said_at_once_and_measured_against_the_first() -> None:
    watch = PictureWatch()
    assert watch.look(noisy(), 0.0).state is State.OK
    verdict = watch.look(noisy(size=(48, 36)), 0.1)
    assert verdict.state is State.RESIZED
    assert "48 x 36" in verdict.message
    watch.interrupted()
    assert watch.look(noisy(size=(48, 36)), 9.0).state is State.RESIZED
    assert watch.look(noisy(), 9.1).state is State.OK


def test_after_an_interruption_the_time_without_pictures_does_not_count_as_frozen() -> None:
    watch = PictureWatch()
    watch.look(noisy(), 0.0)
    watch.interrupted()
    assert watch.look(noisy(), 60.0).state is State.OK
    assert watch.look(noisy(), 64.0).state is State.FROZEN
