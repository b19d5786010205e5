"""Options and manners that the commands about keys and signed bundles share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from securesystemslib.signer import Signer

from cloud_sync.trust_keys import load_signer
from models.bad_input import BadInput

F = TypeVar("F", bound=Callable[..., None])
PATH = click.Path(path_type=Path)
DEFAULT_REPOSITORY = "state/repository"


def repository_option(command: F) -> F:
    """Add where the repository is."""
    return click.option(
        "--repository", "folder", type=PATH, default=DEFAULT_REPOSITORY, show_default=True,
        envvar="SHELFGATE_HUB_REPOSITORY", help="The repository's folder.",
    )(command)  # fmt: skip


def key_options(command: F) -> F:
    """Add the keys to sign with."""
    command = click.option(
        "--passphrase-file", type=PATH, help="The first line of this file unlocks the keys."
    )(command)
    return click.option(
        "--key", "keys", type=PATH, multiple=True, required=True, metavar="PEM",
        help="A secret key to sign with; several times for several.",
    )(command)  # fmt: skip


def past_option(command: F) -> F:
    """Add the version to get beyond."""
    return click.option(
        "--past", type=click.IntRange(0, 2**31), default=0, metavar="N",
        help="Get beyond version N: after a backup was restored, the highest that a box has seen.",
    )(command)  # fmt: skip


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def signers_of(paths: Sequence[Path], passphrase_file: Path | None) -> list[Signer]:
    """Read secret keys. Raises TrustError, or BadInput for the passphrase."""
    passphrase = passphrase_of(passphrase_file)
    return [load_signer(path, passphrase) for path in paths]


def key_ids(signers: Sequence[Signer]) -> list[str]:
    """Say whose keys these are, as people tell them apart."""
    return [signer.public_key.keyid[:12] for signer in signers]


def passphrase_of(path: Path | None) -> bytes | None:
    """Read a passphrase. Raises BadInput."""
    if path is None:
        return None
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if not lines or not lines[0]:
        raise BadInput(f"{path}: no passphrase in its first line")
    return lines[0]


def say(as_json: bool, told: dict[str, Any], text: str) -> None:
    """Print what came of it."""
    click.echo(json.dumps(told) if as_json else text)
    sys.stdout.flush()
