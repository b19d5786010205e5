"""What training minimises: losses of pytorch-metric-learning, alone or combined.

`triplet` is the article's: of each anchor, the hardest positive and the hardest negative of the
batch. `softmax` compares with one proxy a product, with a margin (CosFace, Wang et al. 2018), and
with products made up between two real ones (Proxy Synthesis, Gu et al. 2021), which keeps room for
products that are yet to come. Any other name is a class of the library's.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pytorch_metric_learning import losses as library
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, nn
from torch.nn import functional

TRIPLET = "triplet"
SOFTMAX = "softmax"


class LossError(Exception):
    """A loss is not known or cannot be made with these settings."""


@dataclass(frozen=True, slots=True)
class Term:
    """A loss and what it counts."""

    name: str
    weight: float = 1.0


class BatchHardTriplet(nn.Module):
    """Triplet loss over the hardest positive and negative of each anchor in the batch."""

    def __init__(self, margin: float = 0.2) -> None:
        """Take the margin, as cosine similarity."""
        super().__init__()
        self.mine = BatchHardMiner(distance=CosineSimilarity())
        self.loss = library.TripletMarginLoss(margin=margin, distance=CosineSimilarity())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (B, D) embeddings with (B,) labels."""
        found: Tensor = self.loss(embeddings, labels, self.mine(embeddings, labels))
        return found


class MarginSoftmax(nn.Module):
    """Softmax over cosines to a proxy of each product, some of them made up between two."""

    def __init__(
        self,
        products: int,
        dim: int,
        *,
        margin: float = 0.15,
        scale: float = 20.0,
        synthetic: float,
    ) -> None:
        """Take how much of a batch is mixed into made-up products, `synthetic`, from 0 to 1."""
        super().__init__()
        self.proxies = nn.Parameter(functional.normalize(torch.randn(products, dim), dim=1))
        self.margin, self.scale, self.synthetic = margin, scale, synthetic

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (B, D) embeddings with (B,) labels."""
        proxies = functional.normalize(self.proxies, dim=1)
        if self.synthetic:
            embeddings, labels, proxies = self._with_made_up(embeddings, labels, proxies)
        cosines = embeddings @ proxies.T
        own = functional.one_hot(labels, len(proxies))
        logits = self.scale * (cosines - self.margin * own)
        return functional.cross_entropy(logits, labels, label_smoothing=0.05)

    def _with_made_up(
        self, embeddings: Tensor, labels: Tensor, proxies: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        partner = torch.randperm(len(labels), device=labels.device)
        share = torch.distributions.Beta(0.4, 0.4).sample((len(labels), 1)).clamp(0.1, 0.9)
        share = share.to(embeddings)
        mixed = [
            share * part + (1 - share) * part[partner] for part in (embeddings, proxies[labels])
        ]
        differ = torch.nonzero(labels != labels[partner])[:, 0]
        differ = differ[: int(len(differ) * self.synthetic)]
        rows, between = (functional.normalize(part[differ], dim=1) for part in mixed)
        new = len(proxies) + torch.arange(len(differ), device=labels.device)
        return (
            torch.cat([embeddings, rows]),
            torch.cat([labels, new]),
            torch.cat([proxies, between]),
        )


class Objective(nn.Module):
    """A weighed sum of losses."""

    def __init__(self, terms: Sequence[Term], products: int, dim: int, *, synthetic: float) -> None:
        """Make each term for so many products and embeddings of length dim. Raises LossError.

        synthetic: as for MarginSoftmax.
        """
        super().__init__()
        if not terms:
            raise LossError("no loss to train with")
        self.weights = [term.weight for term in terms]
        self.parts = nn.ModuleList(_made(term.name, products, dim, synthetic) for term in terms)

    @property
    def proxies(self) -> nn.Parameter | None:
        """Proxies of the products, (P, D), where a term has some that can be set."""
        for part in self.parts:
            if isinstance(part, MarginSoftmax):
                return part.proxies
        return None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (B, D) L2-normalised embeddings with (B,) labels."""
        pairs = zip(self.weights, self.parts, strict=True)
        return torch.stack([weight * part(embeddings, labels) for weight, part in pairs]).sum()


def _made(name: str, products: int, dim: int, synthetic: float) -> nn.Module:
    if name == TRIPLET:
        return BatchHardTriplet()
    if name == SOFTMAX:
        return MarginSoftmax(products, dim, synthetic=synthetic)
    found = getattr(library, name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise LossError(
            f"no loss {name!r}: there are {TRIPLET}, {SOFTMAX}, and those of "
            "pytorch_metric_learning.losses by their class name, such as MultiSimilarityLoss"
        )
    known = {"num_classes": products, "embedding_size": dim}
    wanted = {k for k in known if k in inspect.signature(found).parameters}
    try:
        made: nn.Module = found(**{k: known[k] for k in wanted})
    except TypeError as error:
        raise LossError(f"{name}: needs settings that are not known here: {error}") from error
    return made
