"""Heads: what a network's output means, as a loss to train and a distribution to use."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.errors import SettingsError
from ostinato.kernels.cross_entropy import IGNORED, linear_cross_entropy


class Softmax(nn.Module):
    """p = softmax(W·h + b) over a vocabulary.

    Args:
        hidden_size: features of h.
        vocabulary_size: classes.
        weight: [vocabulary, hidden], shared with the embedding (weight tying: Press & Wolf 2017; Inan et al. 2017).

    >>> head = Softmax(4, 10)
    >>> head.log_probabilities(torch.zeros(2, 4)).exp().sum(-1).tolist()
    [1.0, 1.0]
    """

    def __init__(self, hidden_size: int, vocabulary_size: int, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        if weight is None:
            bound = 1 / math.sqrt(hidden_size)
            weight = nn.Parameter(torch.empty(vocabulary_size, hidden_size).uniform_(-bound, bound))
        elif weight.shape != (vocabulary_size, hidden_size):
            raise ValueError(f"weight: expected {[vocabulary_size, hidden_size]}, found {list(weight.shape)}")
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Log p, [..., vocabulary], of the full softmax, from hidden [..., hidden]."""
        return functional.log_softmax(functional.linear(hidden, self.weight, self.bias).float(), dim=-1)

    def full_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Σ −log p[target] in nats over the full softmax, for hidden [tokens, hidden] and targets [tokens]."""
        return linear_cross_entropy(hidden, self.weight, self.bias, targets)

    def loss(self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """What training descends: Σ over tokens, nats."""
        return linear_cross_entropy(hidden, self.weight, self.bias, targets, label_smoothing)


class SampledSoftmax(Softmax):
    """A softmax trained on the target and a few sampled classes (Jean et al. 2015), used in full elsewhere.

    Negatives are drawn once a step from the log-uniform distribution P(k) = log((k + 2)/(k + 1)) / log(V + 1), which
    suits ids in order of falling frequency (byte pairs are so only roughly); each logit is corrected by −log of its
    expected count, and a negative that is the target itself is left out.

    Args:
        samples: negatives a step.

    >>> head = SampledSoftmax(4, 1000, samples=50)
    >>> head.loss(torch.zeros(3, 4), torch.tensor([0, 5, 900])).item() > 0
    True
    """

    def __init__(
        self, hidden_size: int, vocabulary_size: int, weight: nn.Parameter | None = None, samples: int = 1024
    ) -> None:
        super().__init__(hidden_size, vocabulary_size, weight)
        if samples >= vocabulary_size:
            raise SettingsError(f"num_samples = {samples}: must be below the vocabulary's size, {vocabulary_size}")
        self.samples = samples

    def _expected_count(self, ids: Tensor) -> Tensor:
        """−expm1(n·log1p(−P)): the chance that a class is among n draws."""
        p = torch.log1p(1 / (ids + 1.0)) / math.log(self.vocabulary_size + 1)
        return -torch.expm1(self.samples * torch.log1p(-p))

    def loss(self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:  # noqa: ARG002
        """Σ over tokens of −log p[target] among the target and the sampled classes, nats."""
        uniform = torch.rand(self.samples, device=hidden.device)
        drawn = (uniform * math.log(self.vocabulary_size + 1)).exp().long() - 1
        sampled = drawn.clamp_(0, self.vocabulary_size - 1).unique()
        wants = targets.clamp(min=0)
        positive = (hidden * self.weight[wants]).sum(-1) + self.bias[wants] - self._expected_count(wants).log()
        correction = self.bias[sampled] - self._expected_count(sampled).log()
        negative = torch.addmm(correction.to(hidden.dtype), hidden, self.weight[sampled].t().to(hidden.dtype))
        negative = negative.masked_fill(wants.unsqueeze(1) == sampled, -math.inf)
        logits = torch.cat([positive.unsqueeze(1).float(), negative.float()], dim=1)
        first = torch.where(targets == IGNORED, IGNORED, torch.zeros_like(targets))
        return functional.cross_entropy(logits, first, reduction="sum")


class AdaptiveSoftmax(nn.Module):
    """A softmax in clusters by frequency, the rarer in fewer features (Grave et al. 2017).

    Args:
        hidden_size: features of h.
        vocabulary_size: classes, the more frequent first (byte pairs are so only roughly).
        cutoffs: where clusters begin; a fifth and a half of the vocabulary if None.

    >>> head = AdaptiveSoftmax(16, 100, cutoffs=[20, 50])
    >>> head.log_probabilities(torch.zeros(2, 16)).exp().sum(-1).round(decimals=4).tolist()
    [1.0, 1.0]
    """

    def __init__(self, hidden_size: int, vocabulary_size: int, cutoffs: list[int] | None = None) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        cutoffs = cutoffs or sorted({max(1, vocabulary_size // 5), max(2, vocabulary_size // 2)})
        if list(cutoffs) != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary_size:
            raise SettingsError(
                f"cutoffs = {cutoffs}: must rise, between 1 and the vocabulary's size, {vocabulary_size}"
            )
        smallest = hidden_size / 4 ** len(cutoffs)
        if smallest < 1:
            raise SettingsError(
                f"softmax = adaptive: {len(cutoffs)} cutoffs need hidden features ≥ {4 ** len(cutoffs)}"
            )
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(hidden_size, vocabulary_size, cutoffs, div_value=4.0)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Log p, [..., vocabulary], over all clusters."""
        flat = self.clusters.log_prob(hidden.reshape(-1, hidden.shape[-1]).float())
        return flat.reshape(*hidden.shape[:-1], -1)

    def full_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Σ −log p[target] in nats, for hidden [tokens, hidden] and targets [tokens]; −100 does not count."""
        counts = targets != IGNORED
        with torch.autocast(hidden.device.type, enabled=False):  # the clusters mix what autocast would make unlike
            return -self.clusters(hidden[counts].float(), targets[counts]).output.sum()

    def loss(self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:  # noqa: ARG002
        """What training descends: the same, since the clusters have no smoothed form."""
        return self.full_loss(hidden, targets)


def make_head(kind: str, hidden_size: int, vocabulary_size: int, weight: Any = None, **options: Any) -> Any:
    """The head of a name: `full`, `sampled` (option `samples`) or `adaptive` (option `cutoffs`)."""
    if kind == "adaptive":
        return AdaptiveSoftmax(hidden_size, vocabulary_size, options["cutoffs"])
    if kind == "sampled":
        return SampledSoftmax(hidden_size, vocabulary_size, weight, options["samples"])
    return Softmax(hidden_size, vocabulary_size, weight)
