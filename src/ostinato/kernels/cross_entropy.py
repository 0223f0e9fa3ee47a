"""A linear layer and its cross-entropy in one, which never holds the logits of all tokens at once."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORED = -100  # a target that does not count, as in torch
_CHUNK_ELEMENTS = 1 << 23  # logits held at a time: 32 MiB in float32


_kept = threading.local()


def _workspace(name: str, rows: int, columns: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised matrix whose memory is kept from call to call, one for each name, type, device and thread.

    Fresh memory of this size costs a CPU a page fault every 4 KiB, as much time as the product that fills it.
    """
    held: dict[Any, Tensor] = vars(_kept).setdefault("held", {})
    key, size = (name, like.device, dtype), rows * columns
    if key not in held or held[key].numel() < size:
        with torch.inference_mode(False):  # it serves training and inference alike
            held[key] = torch.empty(size, device=like.device, dtype=dtype)
    return held[key][:size].view(rows, columns)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float, dtype: torch.dtype
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:3])
        vocabulary = len(weight)
        d_hidden = torch.empty_like(hidden) if wanted else None
        d_weight = d_bias = None
        total = hidden.new_zeros(())
        low_weight, low_bias = weight.to(dtype), bias.to(dtype)
        chunks = -(-len(hidden) * vocabulary // _CHUNK_ELEMENTS)  # of even size: a thin product is a slow one
        rows = max(1, -(-len(hidden) // max(1, chunks)))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            counts = (targets[part] != IGNORED).unsqueeze(1)
            wants = targets[part].clamp(min=0).unsqueeze(1)
            low_hidden = hidden[part].to(dtype)
            shape = (len(low_hidden), vocabulary, hidden)
            low = torch.addmm(low_bias, low_hidden, low_weight.t(), out=_workspace("logits", *shape, dtype))
            logits = low if dtype == hidden.dtype else _workspace("logits", *shape, hidden.dtype).copy_(low)
            log_p = torch.log_softmax(logits, dim=-1, out=_workspace("log p", *shape, hidden.dtype))
            losses = -(1 - smoothing) * log_p.gather(1, wants)
            if smoothing:
                losses -= smoothing * log_p.mean(dim=1, keepdim=True)
            total += torch.where(counts, losses, losses.new_zeros(())).sum()
            if d_hidden is None:
                continue
            # ∂loss/∂logits = softmax − (1 − ε)·one-hot − ε/V, for the tokens that count
            d_logits = log_p.exp_()
            if smoothing:
                d_logits -= smoothing / vocabulary
            d_logits.scatter_add_(1, wants, d_logits.new_full((), smoothing - 1).expand_as(wants))
            if not counts.all():
                d_logits *= counts
            low = d_logits if dtype == hidden.dtype else low.copy_(d_logits)
            d_hidden[part] = low @ low_weight
            if d_weight is None or d_bias is None:
                d_weight, d_bias = (low.t() @ low_hidden).to(weight.dtype), d_logits.sum(dim=0)
            elif dtype == weight.dtype:
                d_weight.addmm_(low.t(), low_hidden)
                d_bias += d_logits.sum(dim=0)
            else:
                d_weight += low.t() @ low_hidden
                d_bias += d_logits.sum(dim=0)
        if wanted and d_weight is None:  # no tokens at all
            d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        ctx.gradients = (d_hidden, d_weight, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy: the gradient is scaled in place: there is one backward a loss")
        gradients, ctx.gradients = ctx.gradients, None  # given away: autograd need not copy what nobody else holds
        return *(part.mul_(gradient) for part in gradients), None, None, None


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Σ over tokens of −log softmax(W·h + b)[target], in nats, with at most 32 MiB of logits at a time.

    The gradient is computed with the loss, chunk by chunk, so only `hidden`'s, `weight`'s and `bias`'s are kept; the
    price is that there is no second derivative, and one backward for a loss. Under autocast the products are taken in
    its type.

    Args:
        hidden: [tokens, hidden].
        weight: [vocabulary, hidden].
        bias: [vocabulary].
        targets: int64 [tokens]; −100 does not count.
        label_smoothing: ε of (1 − ε)·one-hot + ε/V as the target (Szegedy et al. 2016, section 7).

    >>> hidden, weight, bias = torch.randn(5, 3), torch.randn(7, 3), torch.zeros(7)
    >>> targets = torch.tensor([0, 6, 2, -100, 1])
    >>> plain = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    >>> torch.allclose(linear_cross_entropy(hidden, weight, bias, targets), plain)
    True
    """
    if hidden.dim() != 2 or targets.shape != hidden.shape[:1]:
        shapes = f"{list(hidden.shape)} and {list(targets.shape)}"
        raise ValueError(f"hidden and targets: expected [tokens, hidden] and [tokens], found {shapes}")
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(hidden.to(weight.dtype), weight, bias, targets, label_smoothing, dtype)
