"""Heads for labels: what a vector says of a text, as a loss to train and probabilities to use."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.kernels.cross_entropy import IGNORED


class Offset(nn.Module):
    """z = v + b: what is left of a linear layer where v holds a score for each output.

    Args:
        outputs: how many.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, scores: Tensor) -> Tensor:
        """Scores [batch, outputs] → the same shape."""
        return scores + self.bias


class LabelHead(nn.Module):
    """Logits z = W·v + b of a vector v, and what they mean.

    Args:
        features: of v; None: v holds a score for each logit already (see `LabelPooling`), and z = v + b.
        outputs: how many logits.
        weights: of the labels in the loss, float [labels]; 1 each if None.

    `temperature` divides logits before they become probabilities (Guo et al. 2017, section 4.2): 1 until a calibration
    sets it. `threshold` is the probability above which a label holds where that is a decision for each label.
    """

    weights: Tensor
    temperature: Tensor
    threshold: Tensor
    ranks: ClassVar[bool] = True
    """Whether probabilities are of labels."""

    def __init__(self, features: int | None, outputs: int, weights: Tensor | None = None) -> None:
        super().__init__()
        self.linear = Offset(outputs) if features is None else nn.Linear(features, outputs)
        self.register_buffer("weights", torch.ones(outputs) if weights is None else weights.float())
        self.register_buffer("temperature", torch.ones(1))
        self.register_buffer("threshold", torch.full((1,), 0.5))

    def logits(self, vector: Tensor) -> Tensor:
        """Vectors [batch, features] → float32 [batch, outputs]."""
        return self.linear(vector).float()

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ over the batch of −log p of its targets, nats, each times its label's weight."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """P of each label, [batch, labels], at the head's temperature."""
        raise NotImplementedError

    def expected(self, logits: Tensor) -> Tensor:
        """What of each logit's target is expected, μ(z), [batch, outputs], without the temperature."""
        return logits.sigmoid()

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Σ ½ (KL(p‖q) + KL(q‖p)), nats, of the distributions p and q that two logits [batch, outputs] of a text say.

        In an exponential family with natural parameter z and mean μ(z) that is Σ_k ½ (μ(z) − μ(z'))_k (z − z')_k: with
        μ = softmax for one label, σ for a decision of each output, and z itself for a number of unit variance.

        >>> head = OneLabel(4, 2)
        >>> p, q = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
        >>> wanted = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
        >>> bool(head.divergence(p.log(), q.log()).isclose(wanted / 2))
        True
        """
        return 0.5 * ((self.expected(first) - self.expected(second)) * (first - second)).sum()

    def log_odds(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log p / (1 − p) of a label in each row, [batch], also where p is 1 to the last digit.

        Args:
            logits: [batch, outputs].
            labels: int64 [batch].
        """
        raise NotImplementedError


class OneLabel(LabelHead):
    """One label of several: p = softmax(z / temperature). Targets are int64 [batch]; −100 does not count.

    >>> head = OneLabel(4, 3, weights=torch.tensor([1.0, 1.0, 2.0]))
    >>> zeros = torch.zeros(2, 3)
    >>> round(head.loss(zeros, torch.tensor([0, 2])).item() / math.log(3), 4)
    3.0
    >>> head.probabilities(zeros).sum(1).tolist()
    [1.0, 1.0]
    """

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ w_y · −log p_y."""
        return functional.cross_entropy(
            logits, targets, self.weights, ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return (logits / self.temperature).softmax(1)

    def expected(self, logits: Tensor) -> Tensor:
        """Softmax: the labels exclude each other."""
        return logits.softmax(1)

    def log_odds(self, logits: Tensor, labels: Tensor) -> Tensor:
        """z_y − log Σ_{k≠y} e^{z_k}."""
        return _against_others(logits / self.temperature, labels)


class SeveralLabels(LabelHead):
    """Any number of labels, each a decision of its own: p_k = σ(z_k / temperature).

    Targets are float [batch, labels], 1 where a label holds. The weight w of a label is that of the texts that have it,
    so that rare labels need not be lost among those that do not.

    >>> head = SeveralLabels(4, 3)
    >>> round(head.loss(torch.zeros(2, 3), torch.tensor([[1.0, 0, 1], [0, 0, 0]])).item() / math.log(2), 4)
    6.0
    """

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ_k −w_k y_k log p_k − (1 − y_k) log(1 − p_k)."""
        smooth = targets * (1 - label_smoothing) + label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=self.weights, reduction="sum")

    def probabilities(self, logits: Tensor) -> Tensor:
        """σ, label by label."""
        return (logits / self.temperature).sigmoid()

    def log_odds(self, logits: Tensor, labels: Tensor) -> Tensor:
        """z_y."""
        return (logits / self.temperature).gather(1, labels.unsqueeze(1)).squeeze(1)


class SharedLabels(SeveralLabels):
    """Any number of labels that share a mass of 1: p = softmax(z / temperature), the target 1/n for each of n labels.

    Against hundreds of labels, of which a text has two, every step moves the right ones against all the others, where
    single decisions mostly learn that a label is rare (Joulin et al. 2017, section 2; Mahajan et al. 2018, section 2).

    >>> head = SharedLabels(4, 4)
    >>> round(head.loss(torch.zeros(1, 4), torch.tensor([[1.0, 0, 1, 0]])).item() / math.log(4), 4)
    1.0
    """

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ_k −w_k (y_k / Σ y) log p_k; a text without labels does not count."""
        share = targets * self.weights / targets.sum(1, keepdim=True).clamp(min=1)
        smooth = share * (1 - label_smoothing) + share.sum(1, keepdim=True) * label_smoothing / share.shape[1]
        return -(smooth * logits.log_softmax(1)).sum()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return (logits / self.temperature).softmax(1)

    def expected(self, logits: Tensor) -> Tensor:
        """Softmax: the labels share a mass."""
        return logits.softmax(1)

    def log_odds(self, logits: Tensor, labels: Tensor) -> Tensor:
        """z_y − log Σ_{k≠y} e^{z_k}."""
        return _against_others(logits / self.temperature, labels)


class OrderedLabels(LabelHead):
    """Labels in an order, 0 < 1 < … < K − 1: P(label > k) = σ(w·v − θ_k), θ rising (McCullagh 1980, section 2).

    One score w·v is compared with K − 1 borders, so that neighbours are confused before strangers are. The logits are
    w·v − θ_k; p_k = σ(z_{k−1}) − σ(z_k), with σ(z_{−1}) = 1 and σ(z_{K−1}) = 0. Targets are int64 [batch]; −100 does
    not count.

    >>> head = OrderedLabels(4, 3)
    >>> head.borders().tolist()
    [-0.5, 0.5]
    >>> head.probabilities(torch.tensor([[9.0, -9.0]])).argmax().item()
    1
    """

    def __init__(self, features: int, labels: int, weights: Tensor | None = None) -> None:
        super().__init__(features, 1, torch.ones(labels) if weights is None else weights)
        self.first = nn.Parameter(torch.full((1,), -(labels - 2) / 2))
        # softplus of it is how far apart borders stand: 1 at first
        self.gaps = nn.Parameter(torch.full((labels - 2,), math.log(math.e - 1)))

    def borders(self) -> Tensor:
        """θ, [labels − 1]."""
        return torch.cat([self.first, self.first + functional.softplus(self.gaps).cumsum(0)])

    def logits(self, vector: Tensor) -> Tensor:
        """The score before each border, [batch, labels − 1]."""
        return self.linear(vector).float() - self.borders()

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        """log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^{b − a}), which loses nothing in the tails."""
        above, below = functional.pad(logits, (1, 0), value=torch.inf), functional.pad(logits, (0, 1), value=-torch.inf)
        between = functional.pad(torch.log(-torch.expm1(logits[:, 1:] - logits[:, :-1])), (1, 1))
        return functional.logsigmoid(above) + functional.logsigmoid(-below) + between

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Σ w_y · −log p_y."""
        log_p = self._log_probabilities(logits)
        picked = functional.nll_loss(log_p, targets, self.weights, ignore_index=IGNORED, reduction="sum")
        if not label_smoothing:
            return picked
        counts = (targets != IGNORED).unsqueeze(1)
        spread = -(log_p * self.weights * counts).sum() / log_p.shape[1]
        return (1 - label_smoothing) * picked + label_smoothing * spread

    def probabilities(self, logits: Tensor) -> Tensor:
        """Differences of neighbouring σ."""
        return self._log_probabilities(logits / self.temperature).exp()

    def log_odds(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log p_y − log Σ_{k≠y} p_k."""
        return _against_others(self._log_probabilities(logits / self.temperature), labels)


class Number(LabelHead):
    """A number: y = mean + scale·z + noise, normally distributed with a trained deviation.

    Args:
        features: of v.
        mean: of the targets in training.
        scale: their standard deviation.

    >>> head = Number(4, mean=3.0, scale=2.0)
    >>> head.probabilities(torch.zeros(1, 1)).tolist()
    [[3.0]]
    >>> at_mean = head.loss(torch.zeros(1, 1), torch.tensor([3.0])).item()
    >>> round(at_mean, 4) == round(math.log(2.0) + 0.5 * math.log(2 * math.pi), 4)
    True
    """

    mean: Tensor
    scale: Tensor
    ranks = False

    def __init__(self, features: int, mean: float, scale: float) -> None:
        super().__init__(features, 1)
        self.register_buffer("mean", torch.tensor([mean]))
        self.register_buffer("scale", torch.tensor([scale]))
        self.log_deviation = nn.Parameter(torch.zeros(1))

    def loss(self, logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:  # noqa: ARG002
        """Σ −log of the density at the targets, float [batch]; there are no labels to smooth."""
        error = (targets - self.mean) / self.scale - logits.squeeze(1)
        log_deviation = self.log_deviation + self.scale.log()
        return (0.5 * (error / self.log_deviation.exp()).square() + log_deviation + 0.5 * math.log(2 * math.pi)).sum()

    def expected(self, logits: Tensor) -> Tensor:
        """z: normal noise of unit variance."""
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """The expected number, [batch, 1]: what there is instead of probabilities."""
        return self.mean + self.scale * logits


def _against_others(logits: Tensor, labels: Tensor) -> Tensor:
    """How far a label's logit is above those of all others together, [batch]."""
    at = labels.unsqueeze(1)
    return logits.gather(1, at).squeeze(1) - logits.scatter(1, at, -torch.inf).logsumexp(1)
