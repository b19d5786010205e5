"""Keep the figures of a training: metrics.csv, one line a pass, and TensorBoard where installed."""

from __future__ import annotations

import csv
from pathlib import Path

FIELDS = ("pass", "loss", "learning_rate", "val_precision_at_1", "seconds")


class TrainLog:
    """Figures of one training, in a folder."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after `done` passes: later lines, left by a run that was cut off, are dropped."""
        self._path = folder / "metrics.csv"
        kept: list[dict[str, str]] = []
        if done and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.DictReader(stream) if int(row["pass"]) <= done]
        self._write("w", [dict(zip(FIELDS, FIELDS, strict=True)), *kept])
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def put(self, figures: dict[str, float]) -> None:
        """Add the figures of a pass, which `FIELDS` names."""
        number = int(figures["pass"])
        self._write("a", [{**figures, "pass": number}])
        if self._board is None:
            return
        for name in FIELDS[1:]:
            self._board.add_scalar(name, figures[name], number)
        self._board.flush()

    def close(self) -> None:
        """Close what is open."""
        if self._board is not None:
            self._board.close()

    def _write(self, mode: str, rows: list[dict[str, str]] | list[dict[str, float]]) -> None:
        with self._path.open(mode, newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, FIELDS).writerows(rows)
