"""Sequences in windows: what they are pooled to, what is carried, and where gradients end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ostinato.cells import GRUCell, LSTMCell
from ostinato.feedforward import Convolution, Unchanged
from ostinato.networks import Bidirectional, Deep, Recurrent
from ostinato.pooling import POOLINGS, LabelPooling, make_pooling
from ostinato.subword_embedding import NameEmbedding, SubwordEmbedding, Words
from ostinato.topologies import SeqToVec

LENGTHS = torch.tensor([11, 3, 0, 8])


def model(network: Any, pooling: str, window: int | None) -> SeqToVec:
    torch.manual_seed(0)
    made = SeqToVec(nn.Identity(), network, make_pooling(pooling, network.output_size), nn.Identity(), window=window)
    return made.double()


def networks(ways: int) -> Any:
    torch.manual_seed(3)
    if ways == 2:
        return Deep([Bidirectional(GRUCell(3, 4), GRUCell(3, 4)), Bidirectional(GRUCell(8, 4), GRUCell(8, 4))])
    return Deep([Recurrent(LSTMCell(3, 4)), Recurrent(LSTMCell(4, 4))])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("make", [lambda: networks(1), lambda: Convolution(3, 5), lambda: Unchanged(3)])
@pytest.mark.parametrize("window", [1, 4, 5, 11])
def test_windows_give_the_vector_of_the_whole(make: Any, pooling: str, window: int) -> None:
    network = make()
    if pooling == "last" and not isinstance(network, Deep):
        pytest.skip("there is no last state")
    inputs = torch.randn(11, 4, 3, dtype=torch.float64)
    whole, in_windows = model(network, pooling, None), model(network, pooling, window)
    in_windows.load_state_dict(whole.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(in_windows(inputs, lengths=LENGTHS)[0], whole(inputs, lengths=LENGTHS)[0])
        torch.testing.assert_close(in_windows(inputs)[0], whole(inputs)[0])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_backward_directions_begin_at_each_windows_end(pooling: str) -> None:
    network, inputs = networks(2), torch.randn(8, 1, 3, dtype=torch.float64)
    made = model(network, pooling, 4)
    with torch.no_grad():
        first, state = network(inputs[:4])
        ahead = tuple(type(each)(each.forward, None) for each in state)
        second, last = network(inputs[4:], ahead)
        wanted = made.pooling(torch.cat([first, second]), last)
        torch.testing.assert_close(made(inputs)[0], wanted)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_sequence_that_ends_early_keeps_its_vector(pooling: str) -> None:
    made = model(networks(2), pooling, 4)
    inputs = torch.randn(11, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        together = made(inputs, lengths=LENGTHS)[0]
        for row, length in enumerate(LENGTHS.tolist()):
            if length:
                torch.testing.assert_close(made(inputs[:length, row : row + 1])[0][0], together[row])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_end_where_a_window_begins(pooling: str) -> None:
    made = model(networks(1), pooling, 4)
    inputs = torch.randn(10, 2, 3, dtype=torch.float64, requires_grad=True)
    vector, _ = made(inputs, lengths=torch.tensor([10, 7]))
    functional = torch.randn_like(vector)
    found = torch.autograd.grad((vector * functional).sum(), [inputs, *made.parameters()], allow_unused=True)
    # the same without windows that are computed again: states are cut by hand
    network, folded, state = made.network, None, None
    for start in range(0, 10, 4):
        part = inputs[start : start + 4]
        left = (torch.tensor([10, 7]) - start).clamp(0, len(part))
        state = None if state is None else tuple(type(s)(*[p.detach() for p in s]) for s in state)
        outputs, state = network(part, state, left)
        folded = made.pooling.fold(folded, outputs, state, left)
    by_hand = torch.autograd.grad(
        (made.pooling.vector(folded) * functional).sum(), [inputs, *made.parameters()], allow_unused=True
    )
    for one, other in zip(found, by_hand, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            torch.testing.assert_close(one, other)
    reached = found[0]
    assert reached is not None
    if pooling == "last":
        assert reached[:8, 0].abs().sum() == 0 < reached[8:, 0].abs().sum()
    else:
        assert reached[:4].abs().sum() > 0


@pytest.mark.parametrize("window", [1, 4, 11, None])
def test_labels_score_every_step_of_every_window(window: int | None) -> None:
    torch.manual_seed(2)
    embedding = SubwordEmbedding(6, 2)
    names = NameEmbedding(embedding, Words(torch.tensor([[3, 1, 4]])), [[0, 2], [], [1]])
    pooling = LabelPooling(5, 3, names=names)
    made = SeqToVec(nn.Identity(), Unchanged(5), pooling, nn.Identity(), window=window).double()
    embedding.double()
    inputs = torch.randn(11, 4, 5, dtype=torch.float64, requires_grad=True)
    scores, _ = made(inputs, lengths=LENGTHS)
    e, u, tau = embedding.words.weight, pooling.weight, pooling.sharpness
    assert tau is not None and tau.item() == 5
    wanted = torch.zeros(4, 3, dtype=torch.float64)
    for row, length in enumerate(LENGTHS.tolist()):
        for label, words in enumerate([[3, 4], [], [1]]):
            if length:
                total = sum(torch.exp(u[label] @ inputs[t, row]) for t in range(length))
                best = [max(inputs[t, row, 3:] @ e[word] for t in range(length)) for word in words]
                wanted[row, label] = torch.log(torch.as_tensor(total)) + tau * sum(best) / max(len(words), 1) ** 0.5
    torch.testing.assert_close(scores, wanted)
    sources = [inputs, u, e, tau]
    functional = torch.randn_like(scores)
    found, by_hand = (torch.autograd.grad((z * functional).sum(), sources) for z in (scores, wanted))
    for one, other in zip(found, by_hand, strict=True):
        torch.testing.assert_close(one, other)


def test_convolution_is_kims() -> None:
    net = Convolution(3, 2, widths=(2, 3)).double()
    inputs = torch.randn(6, 1, 3, dtype=torch.float64)
    outputs, state = net(inputs)
    padded = torch.cat([torch.zeros(2, 1, 3, dtype=torch.float64), inputs])
    for t in range(6):
        for at, layer in enumerate(net.layers):
            assert isinstance(layer, nn.Conv1d) and layer.bias is not None
            width = layer.kernel_size[0]
            window = padded[t + 3 - width : t + 3, 0]
            wanted = torch.einsum("okw,wk->o", layer.weight.permute(0, 1, 2), window) + layer.bias
            torch.testing.assert_close(outputs[t, 0, 2 * at : 2 * at + 2], wanted.relu())
    assert torch.equal(state.inputs, inputs[-2:])
