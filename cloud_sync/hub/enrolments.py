"""How a new box gets its certificate: by a code that somebody was given for it, once.

The code reads `sgc_<id>_<secret>_<fingerprint>`: the box recognises the hub's authority by the
fingerprint, the hub recognises the box by the secret, and the box's key never leaves it.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Connection, Engine, insert, select, update

from cloud_sync.hub.audit import THE_HUB, Audit, Role, Who
from cloud_sync.hub.authority import CERTIFICATE_DAYS, Authority, Issued
from cloud_sync.hub.fleet_tables import CertificateRow, EnrolmentRow
from cloud_sync.hub.tokens import digest_of
from cloud_sync.topics import Address

PREFIX = "sgc"
FINGERPRINT = 32
"""Hexadecimal digits of the authority's fingerprint in a code: 128 bits."""


class EnrolmentRefused(Exception):
    """The code is none, is over or was used; nobody is told which."""


class Enrolments:
    """Codes and the certificates they became. clock: Unix seconds.

    changed: called after a certificate was given or revoked, so that the broker learns of it.
    """

    def __init__(
        self,
        engine: Engine,
        authority: Authority,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self.authority = authority
        self._changed = changed
        self._audit = Audit(engine, clock)
        self._clock = clock

    def code(self, who: Who, address: Address, hours: float = 24.0) -> str:
        """Make a code for a device; it is not to be had again."""
        code_id, secret = secrets.token_hex(4), secrets.token_hex(16)
        with self._engine.begin() as connection:
            connection.execute(
                insert(EnrolmentRow).values(
                    id=code_id,
                    site=address.site,
                    device=address.device,
                    digest=digest_of(secret),
                    expires_at=self._clock() + hours * 3_600,
                )
            )
            self._audit.write(connection, who, "device.code", str(address), hours=hours)
        return f"{PREFIX}_{code_id}_{secret}_{self.authority.fingerprint[:FINGERPRINT]}"

    def redeem(self, code: str, request: bytes) -> tuple[Address, Issued]:
        """Give a certificate for a code. Raises EnrolmentRefused, AuthorityError."""
        parts = code.split("_")
        if len(parts) != 4 or parts[0] != PREFIX or not parts[1].isalnum():
            raise EnrolmentRefused("the code is not good")
        which = select(EnrolmentRow.__table__).where(EnrolmentRow.id == parts[1][:100])
        with self._engine.begin() as connection:
            row = connection.execute(which).one_or_none()
            good = row is not None and hmac.compare_digest(row.digest, digest_of(parts[2]))
            if row is None or not good or row.used_at or row.expires_at <= self._clock():
                raise EnrolmentRefused("the code is not good")
            address = Address(row.site, row.device)
            issued = self.authority.sign(request, address)
            # Two boxes with one code at the same moment: one of them changes no row.
            used = update(EnrolmentRow).where(
                EnrolmentRow.id == row.id, EnrolmentRow.used_at.is_(None)
            )
            if not connection.execute(used.values(used_at=self._clock())).rowcount:
                raise EnrolmentRefused("the code is not good")
            box = Who(f"the box with code {row.id}", Role.VIEWER)
            self._note(connection, box, address, issued)
        self._changed()
        return address, issued

    def certify(self, who: Who, address: Address, request: bytes, days: float) -> Issued:
        """Give a device a certificate without a code, at the hub's own machine."""
        issued = self.authority.sign(request, address, days)
        with self._engine.begin() as connection:
            self._note(connection, who, address, issued)
        self._changed()
        return issued

    def adopt(self, let_in: Mapping[str, Address], revoked: Collection[str]) -> None:
        """Take in certificates that the broker lets in and that no row speaks of.

        They were given after the backup that the database was restored from. let_in: serial to
        device; revoked: serials.
        """
        with self._engine.begin() as connection:
            known = set(connection.execute(select(CertificateRow.serial)).scalars())
            for serial in sorted(set(let_in) - known - set(revoked)):
                address = let_in[serial]
                # How long it holds only the box can say; it does not hold longer than this.
                until = self._clock() + CERTIFICATE_DAYS * 86_400
                self._note(connection, THE_HUB, address, Issued(b"", serial, until))

    def revoke(self, who: Who, address: Address) -> int:
        """Make a device's certificates and codes worthless; count the certificates."""
        now = self._clock()
        theirs = (CertificateRow.site == address.site, CertificateRow.device == address.device)
        certificates = update(CertificateRow).where(*theirs, CertificateRow.revoked_at.is_(None))
        held = select(CertificateRow.serial).where(*theirs).with_for_update()
        codes = update(EnrolmentRow).where(
            EnrolmentRow.site == address.site,
            EnrolmentRow.device == address.device,
            EnrolmentRow.used_at.is_(None),
        )
        with self._engine.begin() as connection:
            # One that is being renewed at this moment is waited for, and its next one revoked too.
            connection.execute(held).all()
            count = connection.execute(certificates.values(revoked_at=now)).rowcount
            connection.execute(codes.values(used_at=now))
            self._audit.write(connection, who, "device.revoke", str(address), certificates=count)
        self._changed()
        return count

    def refresh(self) -> None:
        """Tell the broker who is let in now, and sign the list of the revoked again.

        Raises SQLAlchemyError, and OSError where the broker's files cannot be written.
        """
        self._changed()

    def revoked(self) -> dict[str, float]:
        """Give what was revoked: serial to Unix seconds."""
        which = select(CertificateRow.serial, CertificateRow.revoked_at).where(
            CertificateRow.revoked_at.is_not(None)
        )
        with self._engine.connect() as connection:
            return {row.serial: float(row.revoked_at) for row in connection.execute(which)}

    def certified(self) -> dict[str, Address]:
        """Give the certificates that hold: serial to device."""
        which = select(CertificateRow.serial, CertificateRow.site, CertificateRow.device).where(
            CertificateRow.revoked_at.is_(None), CertificateRow.expires_at > self._clock()
        )
        with self._engine.connect() as connection:
            found = connection.execute(which)
            return {row.serial: Address(row.site, row.device) for row in found}

    def _note(self, connection: Connection, who: Who, address: Address, issued: Issued) -> None:
        connection.execute(
            insert(CertificateRow).values(
                serial=issued.serial,
                site=address.site,
                device=address.device,
                expires_at=issued.expires_at,
            )
        )
        self._audit.write(connection, who, "device.certify", str(address), serial=issued.serial)
