"""Back-propagation through time, written out: the sum of its terms is what training descends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato import GatedCell, LSTMCell, Recurrent, RNNCell, backend
from ostinato.errors import BackendUnavailable
from ostinato.kernels.recurrence import BACKENDS
from ostinato.measures.bptt import bptt_terms
from tests.contract import ALL, randomise


def layer_of(kind: type[GatedCell], **options: bool) -> Recurrent:
    layer = Recurrent(kind(3, 4), **options).double()
    randomise(layer)
    return layer


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_sum_of_terms_is_what_autograd_and_the_kernels_give(kind: type[GatedCell]) -> None:
    torch.manual_seed(5)
    layer, inputs = layer_of(kind), torch.randn(9, 3).double()
    read = torch.randn(4).double()
    found = bptt_terms(layer, inputs, lambda output: (output @ read).square(), t=7)
    checked = 0
    for name in BACKENDS:
        layer.zero_grad()
        with backend(name):
            try:
                outputs = layer(inputs.unsqueeze(1))[0]
            except BackendUnavailable:
                continue
            ((outputs[7, 0] @ read) ** 2).backward()
        checked += 1
        for parameter in found.by_step:
            wanted = getattr(layer.cell, parameter).grad
            torch.testing.assert_close(found.total(parameter), wanted, rtol=1e-10, atol=1e-12)
    assert checked >= 2 - bool(kind.late)  # the reference, and one that does it otherwise where one serves


def test_the_losses_of_all_steps_add_up_to_the_gradient_of_a_training_step() -> None:
    torch.manual_seed(2)
    layer, inputs = layer_of(LSTMCell), torch.randn(6, 3).double()
    layer(inputs.unsqueeze(1))[0].square().sum().backward()
    terms = [bptt_terms(layer, inputs, lambda output: output.square().sum(), t) for t in range(6)]
    for name in ("weight_ih", "weight_hh", "bias_ih"):
        total = torch.stack([each.total(name) for each in terms]).sum(0)
        torch.testing.assert_close(total, getattr(layer.cell, name).grad, rtol=1e-10, atol=1e-12)


def test_terms_fade_as_the_weights_say() -> None:
    layer = Recurrent(RNNCell(2, 6, bias=False)).double()
    layer.cell.weight_hh.data.mul_(0.5)  # of an orthogonal matrix: every step back halves
    inputs = 1e-4 * torch.ones(12, 2).double()  # where tanh is the identity
    found = bptt_terms(layer, inputs, lambda output: output.sum())
    np.testing.assert_allclose(found.jacobian_norm, 0.5 ** np.arange(11, -1, -1), rtol=1e-5)
    norms = found.norms("weight_ih")  # the input is the same at each step
    np.testing.assert_allclose(norms[1:] / norms[:-1], 2.0, rtol=1e-5)


def test_one_product_of_what_is_joined_is_the_sum_of_two() -> None:
    torch.manual_seed(1)
    cell = layer_of(RNNCell).cell
    x, h = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    joined = torch.cat([x, h], 1) @ torch.cat([cell.weight_ih.T, cell.weight_hh.T])  # [X, H] [W_xh; W_hh]
    torch.testing.assert_close(joined, x @ cell.weight_ih.T + h @ cell.weight_hh.T, rtol=1e-13, atol=1e-13)
    after = cell(x, cell.State(h)).hidden
    torch.testing.assert_close(after, torch.tanh(joined + cell.bias_ih + cell.bias_hh), rtol=1e-12, atol=1e-13)


def test_what_it_is_not_for_is_refused() -> None:
    inputs = torch.randn(4, 3)
    with pytest.raises(ValueError, match="a forward layer"):
        bptt_terms(Recurrent(RNNCell(3, 4), reverse=True), inputs, torch.sum)
    with pytest.raises(ValueError, match="a step of the 4"):
        bptt_terms(Recurrent(RNNCell(3, 4)), inputs, torch.sum, t=4)
