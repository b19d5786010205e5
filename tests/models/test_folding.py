"""Folding changes how a network is computed, and neither what it finds nor what it learns."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from models.embedder import Embedder  # noqa: E402
from models.folding import FoldedStep, fold_batch_norms, fold_in_training  # noqa: E402
from models.recipe import Recipe  # noqa: E402
from models.train import fresh_embedder  # noqa: E402


@pytest.fixture
def plain() -> Embedder:
    """A network as training opens it, with its batch norms."""
    torch.manual_seed(3)
    return fresh_embedder(Recipe(), folded=False).train().double()


def images() -> torch.Tensor:
    return torch.rand(4, 3, 112, 112, dtype=torch.float64) * 2 - 1


def gradients(network: Embedder, seen: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    (network.trunk(seen) * weight).sum().backward()
    return [p.grad for p in network.parameters() if p.grad is not None]


def test_folded_in_training_finds_and_learns_the_same(plain: Embedder) -> None:
    folded = copy.deepcopy(plain)
    fold_in_training(folded)

    seen, weight = images(), torch.randn(4, plain.trunk.length, dtype=torch.float64)
    torch.testing.assert_close(folded.trunk(seen), plain.trunk(seen))

    ours, theirs = gradients(folded, seen, weight), gradients(plain, seen, weight)
    assert len(ours) == len(theirs) > 100
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)


def test_a_copy_of_a_folded_network_learns_on_its_own(plain: Embedder) -> None:
    fold_in_training(plain)
    mean, seen = copy.deepcopy(plain), images()
    before = mean.trunk(seen)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(mean.trunk(seen), before)


def test_folded_for_good_it_is_the_network_that_was_never_unfolded(plain: Embedder) -> None:
    folded = copy.deepcopy(plain)
    fold_in_training(folded)
    for network in (plain.eval(), folded.eval()):
        fold_batch_norms(network)
        kinds = {type(m) for m in network.modules()}
        assert not any(issubclass(k, FoldedStep | torch.nn.BatchNorm2d) for k in kinds)

    ours, theirs = folded.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
