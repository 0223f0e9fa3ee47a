"""Topologies and poolings: padding is no part of what they give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ostinato.cells import CELLS, GRUCell, LSTMCell
from ostinato.heads import Softmax
from ostinato.networks import Bidirectional, Deep, Recurrent
from ostinato.pooling import POOLINGS, make_pooling
from ostinato.topologies import SeqToVec, VecToSeq, partly_drawn

LENGTHS = torch.tensor([5, 1, 3])


def network(cell: str = "lstm", ways: int = 2) -> Deep:
    kind = CELLS[cell]
    if ways == 1:
        return Deep([Recurrent(kind(3, 4)), Recurrent(kind(4, 4))])
    return Deep([Bidirectional(kind(3, 4), kind(3, 4)), Bidirectional(kind(8, 4), kind(8, 4))])


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "min-gru", "slstm"])
def test_a_sequence_alone_has_the_vector_that_it_has_in_a_batch(kind: str, ways: int, cell: str) -> None:
    torch.manual_seed(0)
    deep = network(cell, ways).double()
    model = SeqToVec(nn.Identity(), deep, make_pooling(kind, deep.output_size).double(), nn.Identity()).eval()
    inputs = torch.randn(5, 3, 3, dtype=torch.float64)
    padded = inputs.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        padded[length:, row] = 1e6  # what padding holds is no matter
    together, _ = model(padded, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _ = model(inputs[:length, row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)
    assert together.shape == (3, deep.output_size)


def test_poolings_by_hand() -> None:
    outputs = torch.tensor([[[1.0, -4.0]], [[3.0, -2.0]], [[100.0, 100.0]]])
    lengths = torch.tensor([2])
    assert POOLINGS["mean"]()(outputs, None, lengths).tolist() == [[2.0, -3.0]]
    assert POOLINGS["max"]()(outputs, None, lengths).tolist() == [[3.0, -2.0]]
    attention = make_pooling("attention", 2)
    nn.init.zeros_(attention.query.weight)  # pyright: ignore[reportArgumentType]
    assert attention(outputs, None, lengths).tolist() == [[2.0, -3.0]]
    for kind in ("mean", "max", "attention"):  # a sequence without steps
        assert make_pooling(kind, 2)(outputs, None, torch.tensor([0])).tolist() == [[0.0, 0.0]]


def test_last_is_the_first_step_of_the_way_back() -> None:
    layer = Bidirectional(LSTMCell(3, 4), LSTMCell(3, 2))
    outputs, state = layer(torch.randn(6, 2, 3), lengths=torch.tensor([6, 2]))
    last = POOLINGS["last"]()(outputs, (state,), torch.tensor([6, 2]))
    torch.testing.assert_close(last[0], torch.cat([outputs[5, 0, :4], outputs[0, 0, 4:]]))
    torch.testing.assert_close(last[1], torch.cat([outputs[1, 1, :4], outputs[0, 1, 4:]]))


def test_dropout_of_a_vector_is_only_in_training() -> None:
    model = SeqToVec(
        nn.Embedding(5, 3), Deep([Recurrent(GRUCell(3, 64))]), POOLINGS["last"](), Softmax(64, 2), 0.0, 0.5
    )
    ids = torch.ones(4, 2, dtype=torch.int64)
    assert (model(ids)[0] == 0).float().mean() > 0.2
    torch.testing.assert_close(model.eval()(ids)[0][0], model(ids)[0][1])


def test_a_share_of_what_a_vector_s_sequence_reads_is_drawn_by_itself() -> None:
    """Without a share it is teacher forcing, by steps or at once; with all of it only the first input counts."""
    torch.manual_seed(1)
    model = VecToSeq(4, nn.Embedding(10, 3), Deep([Recurrent(GRUCell(3, 5))]), Softmax(5, 10)).eval()
    ids, state = torch.randint(0, 10, (6, 300)), model.begin(torch.randn(300, 4))
    right = torch.arange(300) % 10
    assert torch.equal(partly_drawn(right, model.head, torch.zeros(300, 5), 0.0), right)
    half = (partly_drawn(right, model.head, torch.zeros(300, 5), 0.5) == right).float().mean()
    assert 0.4 < half < 0.7  # of the half that is drawn, a tenth is right by chance
    at_once = model(ids, state)[0]
    by_steps = model(ids, state, sampled=1e-12)[0]
    assert torch.allclose(at_once, by_steps, atol=1e-6)
    others = torch.cat([ids[:1], (ids[1:] + 1) % 10])
    drawn = []
    for given in (ids, others):
        torch.manual_seed(2)
        drawn.append(model(given, state, sampled=1.0)[0])
    assert torch.equal(*drawn) and not torch.allclose(drawn[0], at_once)
