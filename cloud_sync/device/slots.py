"""Two places for a bundle on the disk, and the one file that says which of them runs.

    bundles/a/, b/        a slot each: bundle/ and the signed metadata that vouched for it
    bundles/state.json    which slot runs, what is on probation, what was refused
    bundles/trust/        the newest metadata this box has verified
    bundles/downloads/    files and halves of files

`state.json` is replaced in one rename, after everything it speaks of is on the disk: whenever the
power goes, either the old state holds or the new one. A slot that is not whole any more is passed
over; the bundle that came with the package is always there. Called by the installer and, before
anything else, by the appliance.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cloud_sync.device.probation import Limits, fault
from cloud_sync.messages import BundleMeasures

log = logging.getLogger(__name__)

Slot = Literal["a", "b"]
REFUSED_KEPT = 50
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SlotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in a slot: its name, version and the SHA-256 of its manifest."""

    bundle: str
    version: int
    digest: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is not tried again, and why; at: Unix seconds."""

    bundle: str
    version: int
    digest: str
    reason: str
    at: float
    taken_back: bool = False


class Probation(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that runs but is not trusted yet: its slot, and the slot to go back to."""

    slot: Slot
    back: Slot | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a box knows of its bundles.

    current: the slot that runs; None: the bundle that came with the package.
    running: names the start of the machine at which an appliance came up that has not said goodbye.
    measures, before: of the bundle that runs, and of the one before it.
    trusted: by role, the highest version of metadata that was ever verified here.
    trial_ms: by digest, how long a bundle's self-test took a crop.
    """

    current: Slot | None = None
    slots: dict[Slot, SlotInfo] = {}
    probation: Probation | None = None
    refused: tuple[Refusal, ...] = ()
    running: str = ""
    measures: BundleMeasures = BundleMeasures()
    before: BundleMeasures | None = None
    trusted: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = {}
    trial_ms: dict[str, float] = {}


class Slots:
    """The folder; whole: tells whether a bundle's folder can run, by raising where it cannot.

    Opening it clears away what a power cut left half done, and takes back a bundle that cannot
    even be opened. Raises OSError where the folder cannot be used.
    """

    def __init__(self, folder: Path, whole: Callable[[Path], object]) -> None:
        self.folder = folder
        self._whole = whole
        self._file = folder / "state.json"
        for name in ("downloads", "trust"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.state = self._read()
        self.clear()
        self._pass_over_broken()

    def bundle(self, slot: Slot | None) -> Path | None:
        """Give the folder of a slot's bundle; None for the one that came with the package."""
        return None if slot is None else self.folder / slot / "bundle"

    @property
    def current(self) -> Path | None:
        """The folder of the bundle to run; None: the one that came with the package."""
        return self.bundle(self.state.current)

    @property
    def idle(self) -> Slot:
        """The slot that the next bundle goes to."""
        return "b" if self.state.current == "a" else "a"

    def refusal(self, digest: str) -> Refusal | None:
        """Give why a bundle is not tried again, None where it may be."""
        return next((one for one in self.state.refused if one.digest == digest), None)

    def change(self, **changes: object) -> None:
        """Write a new state, on the disk when it returns. Raises OSError, the old one kept."""
        state = msgspec.structs.replace(self.state, **changes)
        write_whole(self._file, msgspec.json.encode(state))
        self.state = state

    def refuse(self, refusal: Refusal, **changes: object) -> None:
        """Remember not to try a bundle again."""
        others = [one for one in self.state.refused if one.digest != refusal.digest]
        self.change(refused=(*others[-REFUSED_KEPT + 1 :], refusal), **changes)

    def begin(self, boot: str) -> None:
        """Note that an appliance comes up; one that fell counts against its bundle.

        boot: names this start of the machine; one that fell together with it does not count.
        """
        measures = self.state.measures
        if self.state.running == boot and self.state.probation is not None:
            measures = msgspec.structs.replace(measures, restarts=measures.restarts + 1)
        self.change(running=boot, measures=measures)

    def switch(self, slot: Slot | None) -> None:
        """Let another slot run; a bundle in it is on probation until `commit`."""
        state = self.state
        probation = None if slot is None else Probation(slot=slot, back=state.current)
        self.change(current=slot, probation=probation, before=state.measures,
                    measures=BundleMeasures())  # fmt: skip

    def commit(self) -> None:
        """Trust the bundle that runs."""
        self.change(probation=None)

    def go_back(self, reason: str, at: float) -> None:
        """Let the slot before the one on probation run again.

        reason: why the bundle is not to be tried again; empty where it may be.
        """
        state = self.state
        assert state.probation is not None
        info = state.slots.get(state.probation.slot)
        refused = state.refused
        if reason and info is not None:
            refusal = Refusal(bundle=info.bundle, version=info.version, digest=info.digest,
                              reason=reason, at=at, taken_back=True)  # fmt: skip
            others = [one for one in refused if one.digest != info.digest]
            refused = (*others[-REFUSED_KEPT + 1 :], refusal)
        # One write: a box that is cut off here has gone back and knows why, or has not.
        self.change(current=state.probation.back, probation=None, refused=refused,
                    measures=state.before or BundleMeasures(), before=None)  # fmt: skip

    def workplace(self) -> Path:
        """Give an empty folder for the next bundle; `install` puts it in place."""
        path = self.folder / "next"
        remove_tree(path)
        (path / "bundle").mkdir(parents=True)
        return path

    def install(self, info: SlotInfo) -> Slot:
        """Put the workplace, whole and on the disk, in the idle slot. Raises OSError."""
        slot = self.idle
        sync_tree(self.folder / "next")
        kept = {name: one for name, one in self.state.slots.items() if name != slot}
        self.change(slots=kept)
        remove_tree(self.folder / slot)
        (self.folder / "next").rename(self.folder / slot)
        sync_folder(self.folder)
        self.change(slots={**kept, slot: info})
        return slot

    def _read(self) -> State:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (msgspec.MsgspecError, ValueError, RecursionError, OSError) as error:
            log.error("%s cannot be read: %s; starting with the packaged bundle", self._file, error)
            return State()

    def clear(self) -> None:
        """Remove what is half done."""
        remove_tree(self.folder / "next")
        for path in self.folder.glob(".state.json.*"):
            path.unlink(missing_ok=True)

    def _pass_over_broken(self) -> None:
        """Go back, slot by slot, to a bundle that is whole."""
        while (slot := self.state.current) is not None:
            info = self.state.slots.get(slot)
            try:
                if info is None:
                    raise ValueError("nothing is known of it")
                for path in (self.folder / slot, self.folder / slot / "bundle"):
                    if path.is_symlink():
                        raise ValueError(f"{path.relative_to(self.folder)} is a link")
                self._whole(self.folder / slot / "bundle")
                return
            except Exception as error:  # whatever is wrong with it, this box has to start
                self.pass_over(f"cannot be opened any more: {error}")

    def pass_over(self, reason: str) -> None:
        """Go back from the slot that runs: its bundle cannot be opened. Raises OSError."""
        slot = self.state.current
        assert slot is not None
        log.error("bundle in slot %s %s", slot, reason)
        self._give_up(slot, self.state.slots.get(slot), reason)

    def _give_up(self, slot: Slot, info: SlotInfo | None, reason: str) -> None:
        state = self.state
        back = state.probation.back if state.probation is not None else None
        kept = {name: one for name, one in state.slots.items() if name != slot}
        self.change(current=back if back in kept else None, slots=kept, probation=None,
                    measures=state.before or BundleMeasures(), before=None)  # fmt: skip
        if info is not None and state.probation is not None:
            self.refuse(
                Refusal(bundle=info.bundle, version=info.version, digest=info.digest,
                        reason=reason[:500], at=0.0, taken_back=True)
            )  # fmt: skip


def begin(slots: Slots, limits: Limits | None = None, boot: str | None = None) -> None:
    """Come up: go back where a bundle on probation has brought the appliance down too often.

    Called before the bundle is opened. boot: names this start of the machine, None asks the kernel;
    when the power went, that was not the bundle's fault.
    Raises OSError where the state cannot be written.
    """
    slots.begin(BOOT_ID.read_text().strip() if boot is None else boot)
    if slots.state.probation is not None:
        wrong = fault(slots.state.measures, slots.state.before, limits or Limits())
        if wrong is not None:
            log.error("bundle taken back: %s", wrong)
            slots.go_back(wrong, time.time())


def remove_tree(path: Path) -> None:
    """Remove a folder as far as it can be; of a link only itself, not what it leads to."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place of another, whole and on the disk. Raises OSError, the old one kept."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring everything in a folder onto the disk, files before the folders that name them."""
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        sync_folder(path)  # opens for reading, which is all it takes for a file as well
