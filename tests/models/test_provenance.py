"""What a bundle says it was made of: the same for the same pictures, another for any other."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.provenance import _commit, code_version, data_digest

contents = st.dictionaries(
    st.sampled_from(["milk", "tea", "rice"]), st.lists(st.binary(max_size=8), max_size=3)
)


def written(folder: Path, held: dict[str, list[bytes]], prefix: str = "") -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for sku, pictures in held.items():
        found[sku] = []
        for number, content in enumerate(pictures):
            path = folder / f"{prefix}{sku}-{number}.jpg"
            path.write_bytes(content)
            found[sku].append(path)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(one=contents, other=contents)
def test_two_sets_have_one_digest_where_products_and_contents_are_the_same(
    tmp_path: Path, one: dict[str, list[bytes]], other: dict[str, list[bytes]]
) -> None:
    def same(held: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
        return {sku: sorted(pictures) for sku, pictures in held.items()}

    first, second = written(tmp_path, one), written(tmp_path, other, "other-")
    assert (data_digest(first) == data_digest(second)) == (same(one) == same(other))


def test_order_and_names_do_not_count(tmp_path: Path) -> None:
    held = {"milk": [b"1", b"2"], "tea": [b"3"]}
    turned = {"tea": [b"3"], "milk": [b"2", b"1"]}
    assert data_digest(written(tmp_path, held)) == data_digest(written(tmp_path, turned, "x"))


def test_a_checkout_names_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert _commit(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "one")
    assert _commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert _commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_the_installed_package_names_its_version() -> None:
    assert code_version()["version"]
