"""What the README shows of Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pytorch_metric_learning", reason="needs the train extra")

from tests.models.drawn_pictures import put_pictures  # noqa: E402
from tests.shared import ROOT  # noqa: E402


@pytest.mark.slow
def test_the_training_of_the_readme_gives_a_network_that_embeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    put_pictures(tmp_path / "train", {"p0": 0, "p1": 1}, 4, random)
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    crops = torch.from_numpy(random.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    names = {"crops": crops}
    monkeypatch.chdir(tmp_path)
    exec(shown, names)
    embeddings = names["embeddings"]
    assert embeddings.shape == (3, 256)
    np.testing.assert_allclose(embeddings.detach().norm(dim=1), 1.0, atol=1e-4)
    assert (tmp_path / "trained" / "network.pt").is_file()
