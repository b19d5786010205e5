"""A configuration that is right is read; one that is wrong is refused where it is wrong."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from edge.config import CameraSettings, Config, ConfigError, default, load
from edge.toml_lines import lines_of
from edge.zones import Zone

EXAMPLE = Path(__file__).parents[2] / "docs" / "edge.example.toml"


@pytest.fixture(autouse=True)
def no_state_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


CAMERA = '[[camera]]\nid = "front"\nsource = "0"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    """Return what is said about a file, without its folder."""
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == default()


def test_the_example_documents_every_key_with_its_default(tmp_path: Path) -> None:
    config = load(EXAMPLE)
    for section in fields(Config):
        if section.name == "cameras":
            continue
        value, standard = getattr(config, section.name), getattr(default(), section.name)
        assert is_dataclass(value)
        text = EXAMPLE.read_text().split(f"[{section.name}]")[1].split("\n[")[0]
        for key in fields(value):
            assert f"\n{key.name} = " in text, f"[{section.name}] {key.name} is not documented"
            assert getattr(value, key.name) == getattr(standard, key.name)
    (camera,) = config.cameras
    for key in fields(CameraSettings):
        assert key.name == "zones" or f"\n{key.name} = " in EXAMPLE.read_text()
    assert camera.zones[0].id == "shelf-1"


def test_cameras_and_zones_are_read_in_order(tmp_path: Path) -> None:
    config = load(
        written(
            tmp_path,
            '[[camera]]\nid = "a"\nsource = "clip.mp4"\npace = "fast"\n'
            '[[camera.zones]]\nid = "top"\npolygon = [[0, 0], [9, 0], [9, 9.5]]\ngroups = ["tea"]\n'
            '[[camera.zones]]\nid = "low"\npolygon = [[0, 0], [9, 0], [9, 9]]\n'
            '[[camera]]\nid = "b"\nsource = "rtsp://host/x"\n',
        )
    )
    first, second = config.cameras
    assert first.source == str(tmp_path / "clip.mp4")
    assert first.zones[0] == Zone("top", ((0, 0), (9, 0), (9, 9.5)), ("tea",))
    assert [zone.id for zone in first.zones] == ["top", "low"]
    assert second == CameraSettings("b", "rtsp://host/x")


def test_state_is_kept_where_systemd_says_or_else_with_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert default().device.state_dir == Path("/home/anna/.local/state/shelfgate")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/none")
    assert default().device.state_dir == Path("/home/anna/.local/state/shelfgate")
    monkeypatch.setenv("XDG_STATE_HOME", "/data/state")
    assert default().device.state_dir == Path("/data/state/shelfgate")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/shelfgate:/var/lib/other")
    assert load(written(tmp_path, "")).device.state_dir == Path("/var/lib/shelfgate")
    mine = load(written(tmp_path, '[device]\nstate_dir = "mine"\n'))
    assert mine.device.state_dir == tmp_path / "mine"


def test_paths_start_from_the_files_folder(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, '[device]\nstate_dir = "/var/lib/x"\n[bundle]\npath = "bundles/a"\n')
    )
    assert config.device.state_dir == Path("/var/lib/x")
    assert config.bundle.path == tmp_path / "bundles/a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "# comment\n[detector]\nmin_scor = 0.4\n",
            "edge.toml:3: [detector] unknown key 'min_scor': did you mean 'min_score'?",
        ),
        ("\n\n[moton]\n", "edge.toml:3: unknown section 'moton': did you mean 'motion'?"),
        ('[motion]\nwidth = "wide"\n', '[motion] width: a whole number expected, not "wide"'),
        ("[motion]\nwidth = 320.5\n", "edge.toml:2: [motion] width: a whole number expected"),
        ("[motion]\nwidth = true\n", "[motion] width: a whole number expected, not true"),
        ("[detector]\nenabled = 1\n", "[detector] enabled: true or false expected, not 1"),
        ("[detector]\nmin_score = 1.5\n", "edge.toml:2: [detector] min_score: 1.5 is out of range"),
        ("[detector]\nmin_score = nan\n", "[detector] min_score: a number expected, not nan"),
        ("[sync]\n\nport = 70000\n", "edge.toml:3: [sync] port: 70000 is out of range: 1 to 65535"),
        ("[ledger]\nmin_free_mb = -1\n", "[ledger] min_free_mb: -1 is too small: 0 or more"),
        (
            '[gate]\nruntime = "openvno"\n',
            "edge.toml:2: [gate] runtime: 'openvno' is none of openvino, onnxruntime: "
            "did you mean 'openvino'?",
        ),
        ('[device]\nid = "a/b"\n', "edge.toml:2: [device] id: 'a/b' is no name"),
        ('[device]\nstate_dir = ""\n', "edge.toml:2: [device] state_dir: a path expected"),
        ('[device]\nstate_dir = "~nobody-here/x"\n', "edge.toml:2: [device] state_dir: ~nobody-"),
        ("[evidence]\nmax_share = 1.1\n", "[evidence] max_share: 1.1 is out of range"),
        ("[evidence]\nkeep_days = 0\n", "[evidence] keep_days: 0.0 is out of range"),
        ("motion = 3\n", "edge.toml:1: motion: is a section: write [motion]"),
        ("[camera]\nid = 'a'\n", "edge.toml:1: camera: is a list of tables: write [[camera]]"),
        ('[[camera]]\nsource = "0"\n', "edge.toml:1: [[camera]] id: is missing"),
        ('[device]\n[[camera]]\nid = "a"\n', "edge.toml:2: [[camera]] source: is missing"),
        ('[[camera]]\nid = "a"\nsource = " "\n', "edge.toml:3: [[camera]] source: is empty"),
        ('[[camera]]\nid = "a"\nsource = 0\n', "edge.toml:3: [[camera]] source: a string"),
        (CAMERA + CAMERA, "edge.toml:5: [[camera]] id: two cameras have the id 'front'"),
        (
            CAMERA + '[[camera.zones]]\nid = "z"\npolygon = [[0, 0], [1, 1]]\n',
            "edge.toml:6: [[camera.zones]] polygon: zone 'z': a polygon needs at least 3 corners",
        ),
        (
            CAMERA + '[[camera.zones]]\nid = "z"\npolygon = [[0, 0], [1, 1], [2]]\n',
            "edge.toml:6: [[camera.zones]] polygon: zone 'z': a polygon is a list of corners",
        ),
        (
            CAMERA + 'zones = [\n  {id = "z", polygon = [[0,0],[9,0],[9,9]]},\n'
            '  {id = "z", polygon = [[0,0],[9,0],[9,9]]},\n]\n',
            "edge.toml:6: [[camera.zones]] id: camera 'front' has two zones 'z'",
        ),
        (
            CAMERA + '[[camera.zones]]\nid = "z"\npoligon = [[0, 0], [1, 1]]\n',
            "edge.toml:6: [[camera.zones]] unknown key 'poligon': did you mean 'polygon'?",
        ),
        ("[motion]\nwidth 320\n", "edge.toml:2: not valid TOML: Expected '='"),
        ("[motion\n", "edge.toml:1: not valid TOML"),
        ("[motion]\nwidth = 99\nwidth = 98\n", "edge.toml:3: not valid TOML: Cannot overwrite"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file or directory"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path)
    (tmp_path / "edge.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load(tmp_path / "edge.toml")


def test_lines_are_found_past_strings_arrays_and_comments() -> None:
    text = (
        'a.b = """one\n# two ]\n""" # c\n"c d" = [1, # ]\n  2,\n  {x = "}",\n y = \'[\'}]\n'
        "[[t]]\nn = 1979-05-27 07:32:00\n[[t.u]]\nv = 1\n[[t]]\n[[t.u]]\n[ t . w ]\nz = -1\n"
    )
    lines = lines_of(text)
    assert lines["a", "b"] == 1
    assert lines["c d", 1] == 5
    assert lines["c d", 2, "y"] == 7
    assert lines["t", 0, "n"] == 9
    assert lines["t", 0, "u", 0, "v"] == 11
    assert (lines["t", 1], lines["t", 1, "u", 0], lines["t", 1, "w", "z"]) == (12, 13, 15)
