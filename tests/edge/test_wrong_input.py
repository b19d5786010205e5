"""What is handed to a command wrongly: exit code 2, one line that says what, and no file left."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.cli import main

CAMERA = '[status]\nport = 0\n[[camera]]\nid = "a"\nsource = "rtsp://127.0.0.1:1/x"\n'


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["replay", ""], "'': a recording is expected"),
        (["demo", "--headless", "--clip", " "], "--clip is empty"),
        (["demo", "--headless", "--seconds", "nan"], "a number is expected, not nan"),
        (["models", "calibrate", "--query", "q", "--out", "o", "--wrong", "7"], "0.0<=x<=1.0"),
        (["models", "calibrate", "--query", "q", "--out", "o", "--wrong", "nan"], "not nan"),
        (["models", "calibrate", "--query", "q", "--out", "o", "--missed", "-1"], "0.0<=x<=1.0"),
        (["bench", "store", "--minutes", "nan"], "not nan"),
    ],
)
def test_a_wrong_value_is_refused(
    command: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_are_no_weights_is_said_where_they_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    (tmp_path / "letter.pt").write_text("dear network")
    command = ["detector", "export", str(tmp_path / "letter.pt"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "letter.pt: no weights" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no ledger at all " * 500)
    config = tmp_path / "edge.toml"
    config.write_text(f'[device]\nstate_dir = "{tmp_path}"\n{CAMERA}')

    done = CliRunner().invoke(main, ["run", "--config", str(config)])

    assert done.exit_code == 2
    assert "ledger.db: is damaged or no ledger" in done.stderr
    assert "move it aside" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
