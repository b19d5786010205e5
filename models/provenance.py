"""Say what a bundle was made of and by, so that a rebuild can be told from another bundle.

Kept in the manifest. Needs git only to name a commit, where the code is a checkout.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.digests import file_digest

_ROOT = Path(__file__).parents[1]
_GIT_S = 10


def data_digest(pictures: Mapping[str, Sequence[Path]]) -> str:
    """Return a SHA-256 over which products have which pictures, in hex.

    The same for the same contents, whatever files and folders are called and in whatever order.
    Raises OSError.
    """
    whole = hashlib.sha256()
    for sku in sorted(pictures):
        whole.update(f"{sku}\n".encode())
        for digest in sorted(file_digest(path.resolve())[0] for path in pictures[sku]):
            whole.update(f" {digest}\n".encode())
    return whole.hexdigest()


def code_version() -> dict[str, str]:
    """Return the package's version and, of a checkout, the commit (`-dirty` where it was changed).

    Either is empty where it cannot be told.
    """
    try:
        package = version("shelfgate")
    except PackageNotFoundError:
        package = ""
    return {"version": package, "commit": _commit(_ROOT)}


def _commit(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
