"""Routes about sites, devices, groups, bundles and rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from cloud_sync.hub import fleet_answers as words
from cloud_sync.hub.access import OPERATE, RELEASE, SEE_FLEET, SEE_RELEASES, Caller, only
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.fleet import Fleet, FleetError
from cloud_sync.hub.rollout_plan import Plan, PlanError
from cloud_sync.hub.rollouts import Rollouts
from cloud_sync.topics import Address

Limit = Annotated[int, Query(ge=1, le=1_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
Name = Annotated[str, Path(pattern=words.PATTERN)]
Query_ = Annotated[str | None, Query(pattern=words.PATTERN)]
Ref = Annotated[str, Path(pattern=r"^[^\x00-\x1f/]+$", max_length=300)]


def fleet_routes(fleet: Fleet) -> APIRouter:
    """Give the routes about sites, devices and groups."""
    router = APIRouter(tags=["fleet"])

    @router.get("/sites", **only(SEE_RELEASES))
    def sites() -> list[words.SiteAnswer]:
        """The stores by name."""
        return [words.site_answer(one) for one in fleet.sites()]

    @router.put("/sites/{site}", **only(OPERATE), status_code=204)
    def put_site(site: Name, asked: words.SiteAsked, who: Caller) -> None:
        """Name a store."""
        fleet.put_site(who, site, asked.title)

    @router.delete("/sites/{site}", **only(OPERATE), status_code=204)
    def drop_site(site: Name, who: Caller) -> None:
        """Forget a store's title; its devices and carts stay."""
        if not fleet.drop_site(who, site):
            raise HTTPException(404, f"there is no site {site!r}")

    @router.get("/devices", **only(SEE_FLEET))
    def devices(
        limit: Limit = 100, offset: Offset = 0, site: Query_ = None, label: Query_ = None
    ) -> list[words.FleetDevice]:
        """The devices by name."""
        return [words.fleet_device(one) for one in fleet.devices(limit, offset, site, label)]

    @router.get("/devices/{site}/{device}", **only(SEE_FLEET))
    def device(site: Name, device: Name) -> words.FleetDevice:
        """One device."""
        view = fleet.device(Address(site, device))
        if view is None:
            raise HTTPException(404, f"nobody knows a device {site}/{device}")
        return words.fleet_device(view)

    @router.put("/devices/{site}/{device}/labels", **only(OPERATE), status_code=204)
    def label(site: Name, device: Name, asked: words.LabelsAsked, who: Caller) -> None:
        """Give a device these labels and no others."""
        fleet.label(who, Address(site, device), asked.labels)

    @router.get("/groups", **only(SEE_FLEET))
    def groups() -> list[words.GroupAnswer]:
        """The groups by name."""
        return [words.group_answer(one) for one in fleet.groups()]

    @router.put("/groups/{name}", **only(OPERATE), status_code=204)
    def put_group(name: Name, asked: words.GroupAsked, who: Caller) -> None:
        """Make a group of these devices, or make it anew."""
        members = [Address(one.site, one.device) for one in asked.devices]
        fleet.put_group(who, name, asked.title, members)

    @router.delete("/groups/{name}", **only(OPERATE), status_code=204)
    def drop_group(name: Name, who: Caller) -> None:
        """Forget a group; its devices stay."""
        if not fleet.drop_group(who, name):
            raise HTTPException(404, f"there is no group {name!r}")

    return router


def bundle_routes(bundles: Bundles) -> APIRouter:
    """Give the routes about releases."""
    router = APIRouter(tags=["releases"])

    @router.get("/bundles", **only(SEE_RELEASES))
    def all_bundles() -> list[words.BundleAnswer]:
        """The releases, newest first."""
        return [words.bundle_answer(row, running) for row, running in bundles.all()]

    @router.put("/bundles/{ref}", **only(RELEASE), status_code=204)
    def register(ref: Ref, asked: words.BundleAsked, who: Caller) -> None:
        """Make a release known; its files come by `shelfgate hub bundle push`."""
        try:
            bundles.register(who, ref, asked.note, asked.digest, asked.size)
        except FleetError as error:
            raise HTTPException(409, str(error)) from error

    @router.delete("/bundles/{ref}", **only(RELEASE), status_code=204)
    def withdraw(ref: Ref, who: Caller) -> None:
        """Let no rollout give it any more."""
        if not bundles.withdraw(who, ref):
            raise HTTPException(404, "there is no such bundle, or it is withdrawn")

    return router


def rollout_routes(rollouts: Rollouts) -> APIRouter:
    """Give the routes about rollouts."""
    router = APIRouter(tags=["releases"], prefix="/rollouts")

    @router.get("", **only(SEE_FLEET))
    def all_rollouts(limit: Limit = 100, offset: Offset = 0) -> list[words.RolloutAnswer]:
        """The rollouts, newest first."""
        return [words.rollout_answer(one) for one in rollouts.all(limit, offset)]

    @router.post("", **only(OPERATE), status_code=201)
    def start(asked: words.RolloutAsked, who: Caller) -> words.RolloutAnswer:
        """Begin a rollout."""
        try:
            values = asked.model_dump(exclude={"bundle", "stages"})
            plan = Plan(**values, stages=tuple(asked.stages))
            started = rollouts.start(who, asked.bundle, plan)
        except PlanError as error:
            raise HTTPException(422, str(error)) from error
        except FleetError as error:
            raise HTTPException(409, str(error)) from error
        return words.rollout_answer(rollouts.view(started))

    @router.get("/{rollout}", **only(SEE_FLEET))
    def one(rollout: Name) -> words.RolloutAnswer:
        """One rollout."""
        return _view(rollouts, rollout)

    @router.get("/{rollout}/devices", **only(SEE_FLEET))
    def its_devices(rollout: Name) -> list[words.RolloutDeviceAnswer]:
        """A rollout's devices, in the order in which they get it."""
        return [words.rollout_device(*one) for one in rollouts.devices(rollout)]

    @router.post("/{rollout}/pause", **only(OPERATE))
    def pause(rollout: Name, who: Caller) -> words.RolloutAnswer:
        """Let no further stage begin."""
        with _refused():
            rollouts.pause(who, rollout)
        return _view(rollouts, rollout)

    @router.post("/{rollout}/resume", **only(OPERATE))
    def resume(rollout: Name, who: Caller) -> words.RolloutAnswer:
        """Go on."""
        with _refused():
            rollouts.resume(who, rollout)
        return _view(rollouts, rollout)

    @router.post("/{rollout}/rollback", **only(OPERATE))
    def roll_back(rollout: Name, asked: words.ReasonAsked, who: Caller) -> words.RolloutAnswer:
        """Give every device that had it the bundle from before."""
        with _refused():
            rollouts.roll_back(who, rollout, asked.reason)
        return _view(rollouts, rollout)

    return router


def _view(rollouts: Rollouts, rollout: str) -> words.RolloutAnswer:
    try:
        return words.rollout_answer(rollouts.view(rollout))
    except FleetError as error:
        raise HTTPException(404, str(error)) from error


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except FleetError as error:
        raise HTTPException(409, str(error)) from error
