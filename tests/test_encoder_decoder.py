"""A sequence from a sequence, or from one vector: all steps at once are the steps one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.attention import make_attention
from ostinato.cells import CELLS, GRUCell, LSTMCell
from ostinato.encoder_decoder import FEEDS, EncoderDecoder
from ostinato.heads import Softmax
from ostinato.kernels.recurrence import backend
from ostinato.networks import Bidirectional, Deep, Recurrent, map_state
from ostinato.topologies import CONDITIONS, Bridge, VecToSeq

LENGTHS = torch.tensor([5, 2, 4])
TARGETS = torch.tensor([3, 6, 1])


def model(
    cell: str = "lstm", score: str | None = "general", feed: str = "none", coverage: bool = False, depth: int = 2
) -> EncoderDecoder:
    kind: Any = CELLS[cell]
    encoder: list[Any] = [Bidirectional(kind(3, 2), kind(3, 2))]
    encoder += [Bidirectional(kind(4, 2), kind(4, 2)) for _ in range(depth - 1)]
    fed = {"none": 0, "attentional": 6, "context": 4}[feed]
    decoder = [Recurrent(kind(3 + fed, 5)), *(Recurrent(kind(5, 5)) for _ in range(depth - 1))]
    attention = make_attention(score, 5, 4, coverage) if score else None
    parts = (nn.Embedding(9, 3), Deep(encoder), nn.Embedding(8, 3), Deep(decoder), Softmax(6, 8), 6)
    made = EncoderDecoder(*parts, attention=attention, feed=feed).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.7, 0.7)
    return made.eval()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randint(9, (5, 3)), torch.randint(8, (6, 3))


def by_steps(net: EncoderDecoder, source: Tensor, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
    """Log p of a known target, told one by one."""
    memory, state = net.encode(source, lengths)
    found, attended = [], []
    for ids in inputs:
        log_p, weights, state = net.step(ids, state, memory)
        found.append(log_p)
        attended.append(weights)
    return torch.stack(found), None if memory is None else torch.stack(attended, 1)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "min-gru", "slstm", "mgu"])
@pytest.mark.parametrize("score", ["general", "additive", None])
def test_all_steps_at_once_are_the_steps_one_by_one(cell: str, score: str | None) -> None:
    net = model(cell, score)
    source, inputs = batch()
    features, weights = net(source, inputs, LENGTHS, TARGETS)
    log_p, attended = by_steps(net, source, inputs, LENGTHS)
    head: Any = net.head
    for row, length in enumerate(TARGETS.tolist()):
        torch.testing.assert_close(
            head.log_probabilities(features)[:length, row].double(), log_p[:length, row].double()
        )
        if weights is not None and attended is not None:
            torch.testing.assert_close(weights[row, :length], attended[row, :length])


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("feed", FEEDS)
def test_a_loop_of_steps_trains_what_is_written_with(feed: str, coverage: bool) -> None:
    net = model("gru", "additive", feed, coverage)
    source, inputs = batch()
    features, weights = net(source, inputs, LENGTHS)
    log_p, attended = by_steps(net, source, inputs, LENGTHS)
    head: Any = net.head
    torch.testing.assert_close(head.log_probabilities(features), log_p)
    assert weights is not None and attended is not None
    torch.testing.assert_close(weights, attended)
    assert net.by_steps == (feed != "none" or coverage)
    with torch.inference_mode():  # the native steps
        torch.testing.assert_close(by_steps(net, source, inputs, LENGTHS)[0], log_p, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_a_pair_alone_has_what_it_has_in_a_batch(feed: str, cell: str) -> None:
    net = model(cell, "general", feed, coverage=feed == "attentional")
    source, inputs = batch()
    features, _ = net(source, inputs, LENGTHS, TARGETS)
    for row, (n, m) in enumerate(zip(LENGTHS.tolist(), TARGETS.tolist(), strict=True)):
        alone, _ = net(source[:n, row : row + 1], inputs[:m, row : row + 1])
        torch.testing.assert_close(features[:m, row : row + 1], alone)


@pytest.mark.parametrize("feed", FEEDS)
def test_gradients_by_differences(feed: str) -> None:
    net = model("gru", "additive", feed, depth=1)
    source, inputs = batch()
    names, weights = zip(*((n, p) for n, p in net.named_parameters() if not n.startswith("head")), strict=True)

    def run(*weights: Tensor) -> Tensor:
        found = torch.func.functional_call(net, dict(zip(names, weights, strict=True)), (source, inputs[:2], LENGTHS))
        return found[0].square().sum()

    with backend("reference"):
        assert torch.autograd.gradcheck(run, weights, fast_mode=True)


@pytest.mark.parametrize("feed", FEEDS)
def test_several_hypotheses_of_a_batch_are_each_their_own(feed: str) -> None:
    net = model("lstm", "general", feed, coverage=True)
    source, inputs = batch()
    memory, state = net.encode(source, LENGTHS)
    _, _, state = net.step(inputs[0], state, memory)
    twice = map_state(lambda part: torch.cat([part, part]), state)
    ids = torch.cat([inputs[1], inputs[2]])
    log_p, weights, after = net.step(ids, twice, memory)
    for at, own in enumerate((inputs[1], inputs[2])):
        expected, attended, alone = net.step(own, state, memory)
        torch.testing.assert_close(log_p[3 * at : 3 * at + 3], expected)
        assert weights is not None and attended is not None
        torch.testing.assert_close(weights[3 * at : 3 * at + 3], attended)
        torch.testing.assert_close(after.coverage[3 * at : 3 * at + 3], alone.coverage)


def test_scheduled_sampling_reads_what_the_model_draws() -> None:
    net = model("gru")
    with torch.no_grad():  # so sure of token 5 that every draw is it
        net.head.bias.copy_(torch.full((8,), -50.0).index_fill(0, torch.tensor([5]), 50.0))  # pyright: ignore
    source, inputs = batch()
    own = torch.cat([inputs[:1], torch.full_like(inputs[1:], 5)])
    drawn, _ = net(source, inputs, LENGTHS, sampled=1.0)
    torch.testing.assert_close(drawn, net(source, own, LENGTHS)[0])
    assert not torch.allclose(drawn, net(source, inputs, LENGTHS)[0])
    torch.manual_seed(1)
    some, _ = net(source, inputs, LENGTHS, sampled=0.5)
    assert not torch.allclose(some, drawn) and not torch.allclose(some, net(source, inputs, LENGTHS)[0])


def test_a_bridge_fills_what_is_free_of_a_state() -> None:
    bridge = Bridge(3, Deep([Recurrent(LSTMCell(2, 5)), Recurrent(LSTMCell(5, 4))]))
    vector = torch.randn(7, 3)
    first, second = bridge(vector)
    together = torch.tanh(vector @ bridge.linear.weight.t() + bridge.linear.bias)
    parts = [first.hidden, first.cell, second.hidden, second.cell]
    torch.testing.assert_close(torch.cat(parts, 1), together)
    scaled = Bridge(3, Deep([Recurrent(CELLS["slstm"](2, 5))]))(vector)[0]
    fresh = CELLS["slstm"](2, 5).initial_state(7)
    torch.testing.assert_close(scaled[1:], fresh[1:])
    assert scaled.hidden.abs().sum() > 0
    with pytest.raises(ValueError, match="expected Recurrent layers"):
        Bridge(3, Deep([Bidirectional(GRUCell(2, 2), GRUCell(2, 2))]))


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="no attention to feed from"):
        model(score=None, feed="context")
    parts = (nn.Embedding(9, 3), Deep([Recurrent(GRUCell(3, 4))]), nn.Embedding(8, 3), Deep([Recurrent(GRUCell(3, 5))]))
    with pytest.raises(ValueError, match=r"expected queries and memories of 5 \(decoder\) and 4 \(encoder\)"):
        EncoderDecoder(*parts, Softmax(6, 8), 6, attention=make_attention("general", 5, 5))
    with pytest.raises(ValueError, match="one of none, attentional, context"):
        EncoderDecoder(*parts, Softmax(6, 8), 6, feed="all")
    with pytest.raises(ValueError, match="one of state, inputs, both"):
        VecToSeq(3, parts[0], parts[1], Softmax(4, 9), "none")


# a sequence from one vector


def vec_to_seq(condition: str, cell: str = "lstm") -> VecToSeq:
    kind: Any = CELLS[cell]
    network = Deep([Recurrent(kind(3, 5)), Recurrent(kind(5, 5))])
    return VecToSeq(4, nn.Embedding(9, 3), network, Softmax(5, 9), condition).double()


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_a_vector_conditions_every_step(condition: str, cell: str) -> None:
    net = vec_to_seq(condition, cell)
    vectors, ids = torch.randn(3, 4, dtype=torch.float64), torch.randint(9, (6, 3))
    features, _ = net(ids, net.begin(vectors), TARGETS)
    other, _ = net(ids, net.begin(vectors + 1), TARGETS)
    assert not torch.allclose(features[0], other[0])
    state = net.begin(vectors)
    for at, each in enumerate(ids):
        log_p, state = net.step(each, state)
        alive = at < TARGETS
        head: Any = net.head
        torch.testing.assert_close(log_p[alive], head.log_probabilities(features[at])[alive])


def test_what_is_added_to_the_inputs_by_hand() -> None:
    net = vec_to_seq("inputs")
    vector, ids = torch.randn(1, 4, dtype=torch.float64), torch.tensor([[3], [7]])
    assert net.bridge is None and net.addition is not None
    inputs = net.embedding(ids) + (net.addition.weight @ vector[0])
    torch.testing.assert_close(net(ids, net.begin(vector))[0], net.network(inputs)[0])
    only = vec_to_seq("state")
    assert only.addition is None and only.begin(vector).added.shape == (1, 0)
