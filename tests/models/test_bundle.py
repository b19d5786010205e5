"""A bundle is trusted whole or refused, with one line that names the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.embed import Recogniser
from models import digests
from models.bundle import DEFAULT_BUNDLE, MANIFEST, BundleError, load_bundle, safe_relative
from models.bundle_writer import STEPS, draft_of, next_of, write_bundle

MOST_BYTES = 24 * 2**20
MODEL = load_bundle(DEFAULT_BUNDLE).groups[0].model
NETWORK = MODEL.onnx.relative_to(DEFAULT_BUNDLE).as_posix()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def refused(folder: Path, says: str) -> None:
    with pytest.raises(BundleError, match=says) as raised:
        load_bundle(folder)
    assert "\n" not in str(raised.value)


def test_the_default_bundle_is_sound_and_small() -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    assert bundle.group("all").table.dim == bundle.group("all").model.dim
    assert set(bundle.groups[0].table.skus) == set(bundle.catalogue)
    assert all(product.price_minor > 0 for product in bundle.catalogue.values())
    assert sum(p.stat().st_size for p in DEFAULT_BUNDLE.rglob("*") if p.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_default_bundle_passes_its_self_test(runtime: str) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    assert bundle.self_tests
    Recogniser(bundle, runtime=runtime, threads=1).check()


def test_a_self_test_decided_otherwise_is_named() -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    wrong = replace(bundle.self_tests[0], distance=1.9)
    with pytest.raises(BundleError, match=r"0\.png: self-test failed"):
        Recogniser(replace(bundle, self_tests=(wrong,)), threads=1).check()


@pytest.mark.parametrize("name", [NETWORK, "catalogue.csv", "tables/all/anchors.npy"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, f"{name} is missing")


@pytest.mark.parametrize("name", [NETWORK, "tables/all/centroids.npy", "selftest/0.png"])
def test_a_corrupt_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    refused(folder, f"{name} is corrupt")


def test_of_several_corrupt_files_the_first_of_the_manifest_is_named(folder: Path) -> None:
    for name in ("selftest/0.png", "catalogue.csv", "tables/all/offsets.npy"):
        with (folder / name).open("ab") as file:
            file.write(b"x")
    refused(folder, r"catalogue\.csv is corrupt")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_digest_is_of_the_whole_file(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert digests.file_digest(tmp_path / "file") == (hashlib.sha256(content).hexdigest(), size)


def in_parts(monkeypatch: pytest.MonkeyPatch, folder: Path, part: int) -> Path:
    """Write a bundle again as if no part had more bytes than these; return where it is."""
    monkeypatch.setattr(digests, "PART", part)
    again = folder.parent / "in parts"
    write_bundle(again, draft_of(load_bundle(folder)))
    return again


def test_a_large_file_is_vouched_for_in_parts_of_which_each_byte_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, part = "tables/all/centroids.npy", 100_000
    again = in_parts(monkeypatch, folder, part)
    entry = json.loads((again / MANIFEST).read_bytes())["files"][name]
    content = (again / name).read_bytes()
    assert entry["parts"] == [
        hashlib.sha256(content[start : start + part]).hexdigest()
        for start in range(0, len(content), part)
    ]
    assert load_bundle(again).groups[0].table.skus == load_bundle(folder).groups[0].table.skus
    for place in (0, part - 1, part, len(content) - 1):
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        (again / name).write_bytes(spoilt)
        refused(again, f"{name} is corrupt")
    for wrong in (content[:-1], content + b"x", content[: -(len(content) % part)], b""):
        (again / name).write_bytes(wrong)
        refused(again, f"{name} is corrupt")


@pytest.mark.parametrize("parts", [[], ["0"], [""] * 3, "", {}, 0, 3, True])
def test_parts_that_do_not_cover_a_file_vouch_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, parts: object
) -> None:
    again = in_parts(monkeypatch, folder, 100_000)
    edit(again, lambda m: m["files"]["tables/all/centroids.npy"].update(parts=parts))
    refused(again, r"centroids\.npy is corrupt|not a bundle manifest")


def test_an_empty_file_is_not_vouched_for_by_no_parts(folder: Path) -> None:
    nothing = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0, "parts": []}
    (folder / "extra").write_bytes(b"more than nothing")
    edit(folder, lambda m: m["files"].update(extra=nothing))
    refused(folder, "extra is corrupt")


def test_a_truncated_file_is_named(folder: Path) -> None:
    os.truncate(folder / NETWORK, 1000)
    refused(folder, f"{NETWORK} is corrupt")


def test_a_file_nobody_vouches_for_is_named(folder: Path) -> None:
    (folder / "models" / "extra.so").write_bytes(b"x")
    refused(folder, r"models/extra\.so is not in the manifest")


def test_a_link_is_refused(folder: Path) -> None:
    target = folder / "catalogue.csv"
    outside = folder.parent / "catalogue.csv"
    target.rename(outside)
    target.symlink_to(outside)
    refused(folder, r"catalogue\.csv is a link")


def test_a_linked_folder_is_refused(folder: Path) -> None:
    (folder / "selftest").rename(folder.parent / "elsewhere")
    (folder / "selftest").symlink_to(folder.parent / "elsewhere")
    refused(folder, "selftest is a link")


def test_a_pipe_is_refused(folder: Path) -> None:
    (folder / "catalogue.csv").unlink()
    os.mkfifo(folder / "catalogue.csv")
    refused(folder, r"catalogue\.csv: not a plain file")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "", ".", "a//b"])
def test_a_path_that_leads_outside_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BundleError, match="no path inside the bundle"):
        safe_relative(name)
    edit(folder, lambda m: m["files"].update({name: {"sha256": "0", "size": 0}}))
    refused(folder, "no path inside the bundle")


def test_a_model_outside_the_listing_is_refused(folder: Path) -> None:
    edit(folder, lambda m: m["models"][MODEL.name].update(openvino="models/other.xml"))
    refused(folder, r"models/other\.xml is used but not listed")


def test_an_ir_without_its_weights_is_refused(folder: Path) -> None:
    (folder / "models" / "other.xml").write_bytes(b"")
    empty = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    edit(folder, lambda m: m["files"].update({"models/other.xml": empty}))
    edit(folder, lambda m: m["models"][MODEL.name].update(openvino="models/other.xml"))
    refused(folder, r"models/other\.bin is used but not listed")


def test_openvino_reads_an_ir_or_the_file_that_all_read(folder: Path) -> None:
    edit(folder, lambda m: m["models"][MODEL.name].update(openvino="catalogue.csv"))
    refused(folder, r"openvino is catalogue\.csv, must be an IR")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xfe", b'{"schema": 1, "files": 3}']
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    refused(folder, r"manifest\.json")


def test_a_later_schema_is_said(folder: Path) -> None:
    edit(folder, lambda m: m.update(schema=99))
    refused(folder, "schema 99")


def test_no_bundle_at_all_is_said(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no such bundle folder")
    refused(tmp_path, r"manifest\.json is missing")


def test_a_written_bundle_is_the_same_again(tmp_path: Path) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    again = write_bundle(tmp_path / "again", draft_of(bundle))
    assert again.digest == bundle.digest


def test_a_bundle_tells_what_was_done_to_it(tmp_path: Path) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    once = write_bundle(tmp_path / "once", next_of(bundle, "enrol", skus=["tea"]))
    twice = write_bundle(tmp_path / "twice", next_of(once, "remove", skus=["tea"]))
    assert (twice.version, twice.self_tests) == (bundle.version + 2, ())
    assert twice.provenance["steps"] == [
        {"step": "enrol", "of": bundle.digest, "skus": ["tea"]},
        {"step": "remove", "of": once.digest, "skus": ["tea"]},
    ]
    assert twice.provenance["settings"] == bundle.provenance["settings"]


@pytest.mark.parametrize("odd", ["none", {"a": 1}, 7])
def test_steps_that_are_none_do_not_stop_the_next(odd: object) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    bundle = replace(bundle, provenance={"steps": odd})
    for _ in range(STEPS + 5):
        bundle = replace(bundle, provenance=next_of(bundle, "enrol").provenance)
    assert len(bundle.provenance["steps"]) == STEPS


def test_a_bundle_in_the_way_is_not_overwritten(tmp_path: Path, folder: Path) -> None:
    draft = draft_of(load_bundle(folder))
    with pytest.raises(BundleError, match="is there already"):
        write_bundle(folder, draft)
    assert write_bundle(folder, replace(draft, version=7), replace=True).version == 7
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_what_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    draft = draft_of(load_bundle(DEFAULT_BUNDLE))
    monkeypatch.setattr("models.bundle_writer.shutil.copyfile", full)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(tmp_path / "new", draft)
    assert list(tmp_path.iterdir()) == []
