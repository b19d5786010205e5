"""What the appliance shows and lets people do: its parts, in the words of the status page.

Reads the cameras' newest views, the ledger and the link when it is asked, on the asker's thread;
no camera ever waits for it. The only place that turns ids into names and reasons into sentences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_sync.messages import CloseSession, Command, Nearest, OpenSession, Reply, SettleItem
from edge.bookkeeper import Booked, Bookkeeper
from edge.camera_screen import camera_picture, camera_state
from edge.camera_worker import CameraWorker
from edge.cart import Cart, Reason, Review
from edge.evidence import EvidenceFolder
from edge.gate import Candidate
from edge.ledger import Ledger, LedgerError, SessionError, SettleError
from edge.shop_parts import HasProblems, Link, LooksAfterCertificate, Updates
from edge.status import view
from edge.status.app import Refused
from edge.status.picture import CameraPicture
from models.bundle import Bundle

LEFT_SHOWN = 4
EVENTS_SHOWN = 30
REVIEWS_SHOWN = 30

REASONS = {
    Reason.NO_SESSION: "Nobody had a session open.",
    Reason.SEVERAL_SESSIONS: "Several shoppers are in the store.",
    Reason.UNKNOWN_ITEM: "No product we know looks like this.",
    Reason.UNSURE: "Several products look like this.",
    Reason.NO_PRICE: "The bundle has no price for it.",
    Reason.OTHER_CURRENCY: "Its price is in another currency than the cart.",
    Reason.NOTHING_TO_RETURN: "It was put back, but is not in the cart.",
}

UPDATES = {
    "fetching": "Fetching {bundle}: {share:.0%}.",
    "testing": "Trying {bundle} out.",
    "probation": "On probation.",
    "refused": "Refused {bundle}: {reason}.",
    "rolled_back": "Took {bundle} back: {reason}.",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this box is, and where its hub is."""

    device: str
    site: str
    hub: str


class Storefront:
    """Satisfies `edge.status.app.Shop`, and carries out the commands that come over MQTT.

    clock: seconds since 1970. `link` is set once there is one; None: the hub is not set up.
    `retention`: what lets go of old evidence; `renewal`: what renews the box's certificate; None
    where nothing does.
    """

    def __init__(
        self,
        identity: Identity,
        cameras: Sequence[CameraWorker],
        ledger: Ledger,
        bookkeeper: Bookkeeper,
        evidence: EvidenceFolder,
        bundle: Bundle,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._cameras = {worker.source.camera: worker for worker in cameras}
        self._ledger = ledger
        self._bookkeeper = bookkeeper
        self._evidence = evidence
        self._bundle = bundle
        self._clock = clock
        self._opened: dict[str, float] = {}
        self._closed: dict[str, float] = {}
        self._settled: dict[str, tuple[str, str] | None] = {}
        self.link: Link | None = None
        self.retention: HasProblems | None = None
        self.renewal: LooksAfterCertificate | None = None
        self.updates: Updates | None = None

    def use(self, bundle: Bundle) -> None:
        """Show another bundle's products and prices from now on."""
        self._bundle = bundle

    def state(self) -> view.State:
        """Return everything on the page."""
        warnings = [*self._bookkeeper.problems]
        for part in (self.retention, self.renewal):
            if part is not None:
                warnings += part.problems
        try:
            carts, reviews, waiting = self._ledger_views()
        except LedgerError as error:
            carts, reviews, waiting = (), (), 0
            warnings.append(f"The ledger cannot be read: {error}")
        return view.State(
            device=self._identity.device,
            site=self._identity.site,
            cameras=tuple(camera_state(worker) for worker in self._cameras.values()),
            carts=carts,
            reviews=reviews,
            events=tuple(self._event(one) for one in self._bookkeeper.recent[:EVENTS_SHOWN]),
            bundle=view.BundleView(
                bundle_id=self._bundle.bundle_id,
                version=str(self._bundle.version),
                products=len(self._bundle.catalogue),
                groups=tuple(group.name for group in self._bundle.groups),
                note=self._update(),
            ),
            sync=self._sync(waiting),
            warnings=tuple(warnings),
        )

    def picture(self, camera: str) -> CameraPicture | None:
        """Return a camera's newest picture. Raises KeyError."""
        return camera_picture(self._cameras[camera])

    def products(self, text: str, limit: int) -> tuple[view.CandidateView, ...]:
        """Return products whose sku or name holds text, in the catalogue's order."""
        wanted = text.casefold()
        found = (
            view.CandidateView(product.sku, product.name, 0.0)
            for product in self._bundle.catalogue.values()
            if wanted in product.sku.casefold() or wanted in product.name.casefold()
        )
        return tuple(product for product, _ in zip(found, range(limit), strict=False))

    def evidence(self, folder: str, name: str) -> Path | None:
        """Return the file of one piece of evidence."""
        return self._evidence.file(folder, name)

    def open_session(self, session_id: str) -> None:
        """A shopper came in; the same id again changes nothing. Raises Refused."""
        try:
            session = self._ledger.open_session(session_id, self._stream_now())
        except SessionError as error:
            raise Refused(422, str(error)) from error
        except LedgerError as error:
            raise Refused(503, str(error)) from error
        if not session.is_open:
            raise Refused(409, f"session {session_id!r} was closed: an id is never used twice")
        self._opened.setdefault(session_id, self._clock())

    def close_session(self, session_id: str) -> None:
        """A shopper went out; again for the same id changes nothing. Raises Refused."""
        try:
            self._ledger.close_session(session_id, self._stream_now())
        except SessionError as error:
            raise Refused(404, str(error)) from error
        except LedgerError as error:
            raise Refused(503, str(error)) from error
        self._closed.setdefault(session_id, self._clock())

    def settle(self, event_id: str, sku: str, session_id: str) -> None:
        """Book a waiting event as a person says. Raises Refused."""
        product = self._bundle.catalogue.get(sku)
        if product is None:
            raise Refused(422, f"the bundle holds no product {sku!r}")
        self._settle(event_id, sku, session_id, product.price_minor, product.currency)

    def dismiss(self, event_id: str) -> None:
        """Take a waiting event off the list. Raises Refused."""
        self._settle(event_id, None, None, None, None)

    def obey(self, command: Command) -> Reply:
        """Carry out a command that came over MQTT, from the entry gate or from the hub."""
        try:
            if isinstance(command, OpenSession):
                self.open_session(command.session)
            elif isinstance(command, CloseSession):
                self.close_session(command.session)
            elif isinstance(command, SettleItem):
                self._settle_as_told(command)
            else:
                return Reply(ok=False, detail=f"this box cannot {type(command).__name__}")
        except Refused as error:
            return Reply(ok=False, detail=str(error))
        return Reply(ok=True)

    def _settle_as_told(self, told: SettleItem) -> None:
        if told.sku is None or told.session is None:
            self._settle(told.item, None, None, None, None, told.by)
            return
        product = self._bundle.catalogue.get(told.sku)
        if product is None:
            raise Refused(422, f"the bundle holds no product {told.sku!r}")
        price, currency = product.price_minor, product.currency
        self._settle(told.item, told.sku, told.session, price, currency, told.by)

    def _settle(
        self,
        event_id: str,
        sku: str | None,
        session_id: str | None,
        price_minor: int | None,
        currency: str | None,
        by: str = "staff",
    ) -> None:
        try:
            self._ledger.settle(
                event_id, sku, session_id, price_minor=price_minor, currency=currency, by=by
            )
        except (SessionError, SettleError) as error:
            raise Refused(404, str(error)) from error
        except LedgerError as error:
            raise Refused(503, str(error)) from error
        told = None if sku is None or session_id is None else (sku, session_id)
        self._settled[event_id] = told

    def _stream_now(self) -> float:
        """Return the stream time of the newest frame of any camera."""
        return max((worker.progress.time_s for worker in self._cameras.values()), default=0.0)

    def _ledger_views(
        self,
    ) -> tuple[tuple[view.CartView, ...], tuple[view.ReviewView, ...], int]:
        inside = self._ledger.carts()
        newest = self._ledger.carts(open_only=False, limit=LEFT_SHOWN + len(inside))
        left = [cart for cart in newest if not cart.is_open][:LEFT_SHOWN]
        sessions = tuple(cart.session for cart in (*inside, *left))
        carts = tuple(self._cart(cart) for cart in (*inside, *left))
        reviews = tuple(
            self._review(review, sessions) for review in self._ledger.reviews(REVIEWS_SHOWN)
        )
        return carts, reviews, self._ledger.waiting()

    def _cart(self, cart: Cart) -> view.CartView:
        return view.CartView(
            session=cart.session,
            is_open=cart.is_open,
            opened=self._opened.get(cart.session),
            closed=self._closed.get(cart.session),
            lines=tuple(
                view.LineView(
                    sku=line.sku,
                    name=self.name_of(line.sku),
                    quantity=line.quantity,
                    price_minor=line.unit_price_minor,
                    amount_minor=line.amount_minor,
                )
                for line in cart.lines
            ),
            total_minor=cart.total_minor,
            currency=cart.currency or "",
            waiting=len(cart.reviews),
        )

    def _review(self, review: Review, sessions: tuple[str, ...]) -> view.ReviewView:
        crops, before, after = pictures(review.evidence)
        event = view.EventView(
            event_id=review.event_id,
            kind="pick" if review.kind == "pick" else "return",
            at_s=round(review.time_s, 2),
            booked=None,
            camera=review.camera,
            zone=review.zone,
            quantity=review.quantity,
            verdict="review",
            sku=review.sku,
            name=self.name_of(review.sku),
            distance=min((near.distance for near in review.nearest), default=2.0),
            session=review.session,
            nearest=self._nearest(review.nearest),
            crops=crops,
            before=before,
            after=after,
        )
        others = tuple(session for session in sessions if session != review.session)
        first = () if review.session is None else (review.session,)
        return view.ReviewView(event, REASONS[review.reason], (*first, *others))

    def _event(self, booked: Booked) -> view.EventView:
        event, decision = booked.decided.event, booked.decided.decision
        crops, before, after = pictures(booked.evidence)
        sku, session, verdict = self._last_word(booked)
        return view.EventView(
            event_id=booked.decided.event_id,
            kind="pick" if event.kind == "pick" else "return",
            at_s=round(event.time_s, 2),
            booked=round(booked.at, 1),
            camera=event.camera,
            zone=event.zone,
            quantity=event.quantity,
            verdict=verdict,
            sku=sku,
            name=self.name_of(sku),
            distance=round(decision.distance, 4),
            session=session,
            nearest=self._nearest(decision.nearest),
            crops=crops,
            before=before,
            after=after,
        )

    def _last_word(self, booked: Booked) -> tuple[str | None, str | None, view.Verdict]:
        """Return product, session and verdict of an event, as a person settled it if one did."""
        event_id, decision = booked.decided.event_id, booked.decided.decision
        if event_id not in self._settled:
            return decision.sku, booked.booking.session, decision.verdict.value
        told = self._settled[event_id]
        return (None, None, "dismissed") if told is None else (*told, "settled")

    def _nearest(self, nearest: Sequence[Candidate | Nearest]) -> tuple[view.CandidateView, ...]:
        return tuple(
            view.CandidateView(one.sku, self.name_of(one.sku), round(one.distance, 4))
            for one in nearest[:5]
        )

    def name_of(self, sku: str | None) -> str:
        """Return what a product is called; its sku where the bundle does not know it."""
        product = self._bundle.catalogue.get(sku or "")
        return (sku or "") if product is None else product.name

    def _update(self) -> str:
        """Return what there is to say of the bundle that the hub wants."""
        if self.updates is None:
            return ""
        status = self.updates.status
        words = UPDATES.get(status.phase, "")
        return words.format(
            bundle=status.bundle or "", share=status.share, reason=status.reason.rstrip(".!")
        )

    def _sync(self, waiting: int) -> view.SyncView:
        if self.link is None:
            return view.SyncView("off", "", waiting, "")
        state = self.link.state
        word: view.Link = "up" if state.up else "down"
        until = None if self.renewal is None else self.renewal.ends_at
        return view.SyncView(word, self._identity.hub, waiting, state.problem or "", until)


def pictures(evidence: Sequence[str]) -> tuple[tuple[str, ...], str | None, str | None]:
    """Return an event's crops, its picture before and its picture after, by their names."""
    by_name = {Path(name).stem: name for name in evidence}
    crops = tuple(name for stem, name in by_name.items() if stem.startswith("crop-"))
    return crops, by_name.get("before"), by_name.get("after")
