"""API tokens: made once, shown once, kept as a hash, and never for ever.

A token reads `sgt_<id>_<secret>`. The secret has 256 random bits, so that one round of SHA-256 is
enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update

from cloud_sync.hub.audit import Audit, Role, Who
from cloud_sync.hub.fleet_tables import TokenRow

PREFIX = "sgt"
DAY_S = 86_400.0
LONGEST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Token:
    """What may be known of a token; times in Unix seconds."""

    id: str
    name: str
    role: Role
    created_at: float
    expires_at: float
    revoked_at: float | None


def digest_of(secret: str) -> str:
    """Give what is kept of a secret."""
    # Whatever text somebody tries: half a character (a lone surrogate) is only not the right one.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


class Tokens:
    """The tokens that open the API. clock: Unix seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._audit = Audit(engine, clock)
        self._clock = clock

    def create(self, who: Who, name: str, role: Role, days: float) -> tuple[Token, str]:
        """Make a token; give it and its text, which is not to be had again."""
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        now = self._clock()
        token = Token(token_id, name, role, now, now + days * DAY_S, None)
        with self._engine.begin() as connection:
            connection.execute(
                insert(TokenRow).values(
                    id=token_id,
                    name=name,
                    role=role.value,
                    digest=digest_of(secret),
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                )
            )
            self._audit.write(
                connection, who, "token.create", token_id, name=name, role=role.value, days=days
            )
        return token, f"{PREFIX}_{token_id}_{secret}"

    def revoke(self, who: Who, token_id: str) -> bool:
        """Make a token worthless; False where there is none of that id, or it was already."""
        which = update(TokenRow).where(TokenRow.id == token_id, TokenRow.revoked_at.is_(None))
        with self._engine.begin() as connection:
            if not connection.execute(which.values(revoked_at=self._clock())).rowcount:
                return False
            self._audit.write(connection, who, "token.revoke", token_id)
        return True

    def all(self) -> list[Token]:
        """Give all tokens, the oldest first."""
        which = select(TokenRow.__table__).order_by(TokenRow.created_at, TokenRow.id)
        with self._engine.connect() as connection:
            rows = connection.execute(which).all()
        return [
            Token(r.id, r.name, Role(r.role), r.created_at, r.expires_at, r.revoked_at)
            for r in rows
        ]

    def holder(self, text: str) -> Who | None:
        """Say whose token a text is; None for what is no token, or one that is over."""
        prefix, _, rest = text.partition("_")
        token_id, _, secret = rest.partition("_")
        if prefix != PREFIX or not secret or not token_id.isalnum() or not token_id.isascii():
            return None
        which = select(TokenRow.__table__).where(TokenRow.id == token_id)
        with self._engine.connect() as connection:
            row = connection.execute(which).one_or_none()
        if row is None or not hmac.compare_digest(row.digest, digest_of(secret)):
            return None
        if row.revoked_at is not None or row.expires_at <= self._clock():
            return None
        return Who(row.name, Role(row.role))
