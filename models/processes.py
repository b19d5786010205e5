"""One process or several that train together: what `torchrun` says, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Processes:
    """Which process of how many is running, and the device it computes on."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def wrapped(self, module: nn.Module) -> nn.Module:
        """Return module so that all processes learn the same."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        # A network of timm may bring a head that nothing here asks, so that it gets no gradient.
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def rank() -> int:
    """Return which of the processes `torchrun` started this is; 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes `torchrun` started, for as long as the context lasts; or be alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank(), count, device)
    finally:
        distributed.destroy_process_group()
