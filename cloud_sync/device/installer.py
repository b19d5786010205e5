"""Bring the bundle that the hub wants onto this box, try it, switch to it, and watch it.

verify the signed metadata -> fetch what is missing -> put it together in the idle slot -> try it on
its own crops in a process of its own -> switch -> probation -> commit, or go back. Whatever fails
leaves the box on what it had. What is wrong with a bundle itself is remembered by its digest, and
it is not tried again; what may be wrong with the delivery is tried again, ever less often.

One thread, `bundles`. The appliance knows the installer through `Serving` and the two callables it
hands in.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cloud_sync.device import assembly
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.bundle_status import PACKAGED, STATES, Phase, Status, label, parsed
from cloud_sync.device.fetch import Fetcher, Interrupted, NotThere, Oversized
from cloud_sync.device.probation import Limits, combined, fault, is_kept
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.slots import Probation, Refusal, SlotInfo, Slots
from cloud_sync.device.vouched import NotTrusted, Vouched
from cloud_sync.messages import BundleMeasures, Desired
from models.bundle import BundleError

log = logging.getLogger(__name__)

TICK_S = 0.5
REPORT_EVERY_S = 30.0
PROGRESS_EVERY_S = 1.0
SAVE_EVERY_S, SAVE_SELDOM_S = 10.0, 300.0
AGAIN_S = 15.0
AGAIN_MOST_S = 3600.0


class Serving(Protocol):
    """What decides with a bundle: `edge.serving.Serving`."""

    def open(self, bundle: Path | None) -> Any:
        """Make a bundle ready to decide, None for the packaged one. Raises BundleError."""
        ...

    def serve(self, opened: Any) -> None:
        """Decide with it from now on; what is being decided is decided by the one before."""
        ...

    def trust(self) -> None:
        """Let go of the one before."""
        ...

    def measures(self) -> BundleMeasures:
        """How it does since it serves."""
        ...


class Installer:
    """Keeps a box on the bundle that its hub wants, as far as that can be trusted.

    shadow: what the hub wants, and where the box says what came of it.
    root: the root metadata this box was given by hand. packaged: the bundle that came with it.
    whole: opens a bundle's folder to see that nothing is wrong with it, and gives its name and
        version; trial: has a bundle decide on its own crops, and gives milliseconds a crop. Both
        raise BundleError with the reason.
    switch_s: how long the last switch took, from the first word of it on the disk until the new
        bundle decides.
    prepare: is told that a trial will come soon.
    is_busy: whether carts wait to be sent. limits: of probation. bytes_per_s: as for the fetcher.
    """

    def __init__(
        self,
        slots: Slots,
        shadow: Shadow,
        line: BundleLine,
        root: bytes,
        packaged: Path,
        serving: Serving,
        whole: Callable[[Path], tuple[str, int]],
        trial: Callable[[Path], float],
        *,
        prepare: Callable[[], None] = lambda: None,
        is_busy: Callable[[], bool] = lambda: False,
        limits: Limits | None = None,
        bytes_per_s: float | None = None,
        again_s: float = AGAIN_S,
    ) -> None:
        self._slots, self._shadow, self._line = slots, shadow, line
        self._root, self._packaged = root, packaged
        self._packaged_label = label(*whole(packaged))
        self._serving, self._whole = serving, whole
        self._trial, self._prepare = trial, prepare
        self._limits = limits or Limits()
        self._again_s = again_s
        self._stopping = threading.Event()
        self._pursued: Desired | None = None
        self._settled = False
        self._again_at, self._pause_s = 0.0, again_s
        self._bytes = (0, 0)
        self._status = Status()
        self._told_at = self._saved_at = 0.0
        self.switch_s = 0.0
        self._base = slots.state.measures
        self._fetcher = Fetcher(
            line, is_wanted=self._is_wanted, is_busy=is_busy, bytes_per_s=bytes_per_s
        )
        self._thread = threading.Thread(target=self._run, name="bundles", daemon=True)

    @property
    def status(self) -> Status:
        """How things are; safe to read from any thread."""
        return self._status

    def start(self) -> None:
        """Begin; the line is started too."""
        self._shadow.on_desired = lambda _: self._line.wake()
        self._line.start()
        self._thread.start()

    def come_anew(self) -> None:
        """Break the line; it comes back with the certificate that is there then."""
        self._line.come_anew()

    def stop(self) -> None:
        """End in good order: this start will not count as one that came after a fall."""
        self._stopping.set()
        self._line.wake()
        if self._thread.ident is not None:
            self._thread.join()
            self._line.stop()
        try:
            self._slots.change(running="", measures=self._measures())
        except OSError as error:
            log.error("the state of the bundles cannot be written: %s", error)

    # The thread.

    def _run(self) -> None:
        self._say("probation" if self._slots.state.probation else "idle")
        while not self._stopping.is_set():
            try:
                self._watch()
                self._pursue()
            except OSError as error:
                self._make_room(error)
                self._put_off(f"the disk does not take it: {error.strerror or error}")
            except Exception as error:  # whatever comes from outside, the box goes on
                log.exception("an update failed in a way that nobody thought of")
                self._put_off(f"{type(error).__name__}: {error}")
            if time.monotonic() - self._told_at > REPORT_EVERY_S:
                self._report()
            self._line.wait(TICK_S)

    def _is_wanted(self) -> bool:
        return not self._stopping.is_set() and self._shadow.desired == self._pursued

    def _pursue(self) -> None:
        desired = self._shadow.desired
        if desired is None:
            return
        if desired != self._pursued:
            self._pursued, self._settled = desired, False
            self._again_at, self._pause_s = 0.0, self._again_s
        if self._settled or time.monotonic() < self._again_at:
            return
        try:
            self._install(desired)
            self._settled = True
        except Interrupted:
            return
        except BundleError as error:
            self._settled = True
            self._say("refused", str(error))
        except NotTrusted as error:
            self._put_off(str(error))
        except (NotThere, Oversized, TimeoutError) as error:
            self._put_off(str(error))

    def _put_off(self, reason: str) -> None:
        self._say("refused", reason)
        self._again_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, AGAIN_MOST_S)

    def _make_room(self, error: OSError) -> None:
        """Give back what half a bundle takes up: the ledger needs the room more."""
        if error.errno == errno.ENOSPC:
            assembly.clear_downloads(self._slots.folder / "downloads")
            self._slots.clear()

    def _install(self, desired: Desired) -> None:
        if desired.bundle is None:
            self._say("probation" if self._slots.state.probation else "idle")
            return
        if desired.bundle in (f"{PACKAGED} 0", self._packaged_label):
            self._return_to_packaged()
            return
        try:
            bundle, version = parsed(desired.bundle)
        except ValueError as error:
            raise NotTrusted(str(error)) from error
        running = self._running()
        if running is not None and (running.bundle, running.version) == (bundle, version):
            # Verified when it came; that the hub cannot be reached now changes nothing.
            self._say("probation" if self._slots.state.probation else "committed")
            return
        self._bytes = (0, 0)
        self._say("fetching")
        slots = self._slots
        vouched = Vouched(slots.folder / "trust", self._root, self._fetcher, slots.state.trusted)
        versions = vouched.refresh()
        if versions != slots.state.trusted:
            slots.change(trusted=versions)
        signed = assembly.manifest_target(vouched, bundle, version)
        digest = signed.hashes["sha256"]
        info = SlotInfo(bundle=bundle, version=version, digest=digest)
        if slots.state.probation is not None:
            # The slot it would go to holds the bundle that is trusted.
            self._go_back("")
        if self._running() == info:
            self._say("committed")
            return
        if (refusal := slots.refusal(digest)) is not None:
            self._say("rolled_back" if refusal.taken_back else "refused", refusal.reason)
            return
        try:
            self._prepare()
            if slots.state.slots.get(slots.idle) != info:
                self._fill_idle(vouched, info)
            self._try(info, slots.bundle(slots.idle) or self._packaged)
            opened = self._serving.open(slots.bundle(slots.idle))
        except BundleError as error:
            reason = " ".join(str(error).replace(str(slots.folder), "").split())[:1_000]
            slots.refuse(Refusal(bundle=info.bundle, version=info.version, digest=digest,
                                 reason=reason, at=time.time()))  # fmt: skip
            raise BundleError(reason) from error
        self._switch(opened)

    def _fill_idle(self, vouched: Vouched, info: SlotInfo) -> None:
        """Fetch what is missing, and put the bundle together in the idle slot."""
        slots = self._slots
        downloads = slots.folder / "downloads"
        want = assembly.wanted(vouched, self._fetcher, info.bundle, info.version)
        here = [slots.bundle(slot) for slot in ("a", "b") if slot in slots.state.slots]
        known = assembly.known_files([self._packaged, *(one for one in here if one is not None)])
        needed = assembly.missing(want, known, downloads)
        assembly.clear_downloads(downloads, [one.hashes["sha256"] for one in want.files.values()])
        copied = assembly.to_copy(want, known, self._packaged)
        assembly.fetch_all(needed, self._fetcher, downloads, self._progress, copied)
        place = slots.workplace()
        assembly.assemble(want, known, downloads, place / "bundle", apart=self._packaged)
        vouched.copy_to(place / "metadata")
        name, version = self._whole(place / "bundle")
        if (name, version) != (info.bundle, info.version):
            raise BundleError(f"it says of itself that it is {name} {version}")
        slots.install(info)
        assembly.clear_downloads(downloads)

    def _try(self, info: SlotInfo, folder: Path) -> None:
        """Have the bundle decide on its own crops, and as fast as the one that runs."""
        self._say("testing")
        taken_ms = self._trial(folder)
        slots = self._slots
        running = self._running()
        known = slots.state.trial_ms
        digest = "packaged" if running is None else running.digest
        if digest not in known:
            try:
                known = {**known, digest: self._trial(slots.current or self._packaged)}
            except BundleError as error:
                log.warning("the bundle that runs cannot be timed: %s", error)
                known = {**known, digest: taken_ms}
        most_ms = self._limits.slower * known[digest] + self._limits.slack_ms
        if taken_ms > most_ms:
            raise BundleError(
                f"too slow on this box: {taken_ms:.0f} ms a crop in its self-test, the bundle that "
                f"runs takes {known[digest]:.0f} ms"
            )
        slots.change(trial_ms={digest: known[digest], info.digest: taken_ms})

    def _switch(self, opened: Any) -> None:
        slots = self._slots
        started = time.monotonic()
        slots.change(measures=self._measures())
        slots.switch(slots.idle)
        self._serving.serve(opened)
        self.switch_s = time.monotonic() - started
        self._base = BundleMeasures()
        self._say("probation")

    def _return_to_packaged(self) -> None:
        if self._slots.state.current is not None:
            opened = self._serving.open(None)
            self._slots.switch(None)
            self._serving.serve(opened)
            self._serving.trust()
            self._base = BundleMeasures()
        self._say("committed")

    def _watch(self) -> None:
        """Look how the bundle that runs does."""
        now = time.monotonic()
        measures = self._measures()
        probation = self._slots.state.probation
        if probation is not None:
            if wrong := fault(measures, self._slots.state.before, self._limits):
                self._go_back(wrong)
            elif is_kept(measures, self._limits):
                self._slots.change(measures=measures, probation=None)
                self._serving.trust()
                self._say("committed")
        if now - self._saved_at > (SAVE_EVERY_S if probation else SAVE_SELDOM_S):
            self._saved_at = now
            self._slots.change(measures=self._measures())

    def _go_back(self, reason: str) -> None:
        probation = self._slots.state.probation
        assert probation is not None
        try:
            opened = self._serving.open(self._slots.bundle(probation.back))
        except BundleError as error:
            log.error("the bundle before cannot be opened any more: %s", error)
            opened = self._serving.open(None)
            self._slots.change(probation=Probation(slot=probation.slot, back=None))
        self._slots.go_back(reason, time.time())
        self._serving.serve(opened)
        self._serving.trust()
        self._base = self._slots.state.measures
        if reason:
            self._say("rolled_back", reason)

    def _running(self) -> SlotInfo | None:
        """Give what runs, None for the bundle that came with the package."""
        current = self._slots.state.current
        return None if current is None else self._slots.state.slots.get(current)

    def _measures(self) -> BundleMeasures:
        return combined(self._base, self._serving.measures())

    def _progress(self, done: int, total: int) -> None:
        self._bytes = (done, total)
        self._set_status(self._status.phase, "")
        if time.monotonic() - self._told_at > PROGRESS_EVERY_S:
            self._report()

    def _say(self, phase: Phase, reason: str = "") -> None:
        desired = self._pursued
        before = self._status
        self._set_status(phase, reason)
        if (before.phase, before.reason) != (phase, reason):
            name = None if desired is None else desired.bundle
            log.info("bundle %s: %s%s", name or "", phase, f": {reason}" if reason else "")
        self._report()

    def _set_status(self, phase: Phase, reason: str) -> None:
        desired = self._pursued
        done, total = self._bytes
        bundle = None if desired is None else desired.bundle
        self._status = Status(phase, bundle, reason, done / total if total else 0.0)

    def _report(self) -> None:
        self._told_at = time.monotonic()
        state, status = self._slots.state, self._status
        info = self._running()
        failed = STATES[status.phase] == "failed"
        self._shadow.report(
            bundle=self._packaged_label if info is None else label(info.bundle, info.version),
            digest=None if info is None else info.digest,
            state=STATES[status.phase],
            failed_bundle=status.bundle if failed else None,
            detail=status.reason[:2_000],
            done_bytes=self._bytes[0],
            total_bytes=self._bytes[1],
            measures=self._measures(),
            before=state.before,
        )
