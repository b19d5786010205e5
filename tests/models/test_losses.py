"""What training minimises is small where products lie apart, and large where they do not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pytorch_metric_learning", reason="needs the train extra")

from torch import Tensor  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from models.losses import (  # noqa: E402
    BatchHardTriplet,
    LossError,
    MarginSoftmax,
    Objective,
    Term,
)

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def embeddings(spread: float) -> Tensor:
    torch.manual_seed(1)
    middles = torch.eye(8)[LABELS]
    return normalize(middles + spread * torch.randn(6, 8), dim=1)


def test_the_triplet_is_the_hardest_of_the_batch() -> None:
    rows = embeddings(0.4)
    similar = rows @ rows.T
    same = LABELS[:, None] == LABELS[None]
    worst = torch.where(same, similar, torch.tensor(2.0)).min(dim=1).values
    closest = torch.where(same, torch.tensor(-2.0), similar).max(dim=1).values
    short = torch.relu(closest - worst + 0.2)
    expected = short[short > 0].mean()
    assert float(BatchHardTriplet(0.2)(rows, LABELS)) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("name", ["triplet", "softmax", "MultiSimilarityLoss", "ProxyAnchorLoss"])
def test_each_loss_teaches(name: str) -> None:
    torch.manual_seed(0)
    objective = Objective([Term(name)], 3, 8, synthetic=0.5)
    rows = torch.nn.Parameter(embeddings(1.5))
    learner = torch.optim.Adam([rows, *objective.parameters()], lr=0.05)

    def apart() -> float:
        unit = normalize(rows.detach(), dim=1)
        similar = unit @ unit.T
        same = LABELS[:, None] == LABELS[None]
        return float(similar[same].mean() - similar[~same].mean())

    before = apart()
    for _ in range(60):
        learner.zero_grad()
        objective(normalize(rows, dim=1), LABELS).backward()
        learner.step()
    assert apart() > before + 0.3


def test_terms_are_added_up_by_their_weights() -> None:
    rows = embeddings(1.0)
    one, other = (
        Objective([Term("triplet", weight)], 3, 8, synthetic=0.5) for weight in (1.0, 0.25)
    )
    assert float(other(rows, LABELS)) == pytest.approx(0.25 * float(one(rows, LABELS)))


def test_products_made_up_need_room_too() -> None:
    """Rows at the very proxies still cost something, since what lies between has a proxy."""
    plain, crowded = (MarginSoftmax(3, 8, synthetic=share) for share in (0.0, 1.0))
    for loss in (plain, crowded):
        loss.proxies.data = torch.eye(8)[:3]
    torch.manual_seed(0)
    rows = torch.eye(8)[LABELS]
    with torch.no_grad():
        assert crowded(rows, LABELS) > plain(rows, LABELS) + 0.05


def test_an_unknown_loss_says_which_there_are() -> None:
    with pytest.raises(LossError, match="triplet, softmax"):
        Objective([Term("Nonsense")], 3, 8, synthetic=0.5)
    with pytest.raises(LossError, match="no loss"):
        Objective([], 3, 8, synthetic=0.5)
