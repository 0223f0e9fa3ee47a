"""The options of a layer: what each does, on what it cannot be, and that none changes what it should not."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ostinato.recurrent
from ostinato import Bidirectional, Deep, Recurrent
from ostinato.cells import CELLS, GRUCell, LSTMCell
from ostinato.kernels import reference
from ostinato.networks import flatten_state, map_state
from tests.contract import ALL, network, random_state, randomise

DOUBLE = torch.float64


def layer(name: str = "lstm", **options: Any) -> Recurrent:
    net = Recurrent(CELLS[name](3, 4), **options).double()
    randomise(net)
    return net


def kept(states: Tensor, before: Tensor) -> Tensor:
    """Where a value stayed, but for what the mixing of old and new rounds."""
    return (states - before).abs() < 1e-12


def same(a: Any, b: Any) -> None:
    for one, other in zip(flatten_state(a), flatten_state(b), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_sequences_joined_by_resets_are_sequences_alone(kind: Any, bidirectional: bool) -> None:
    """Three sequences in one row, each as if it were alone, in both directions and at any depth."""
    net, inputs = network(kind, [3, 4, 4], bidirectional, DOUBLE), torch.randn(9, 1, 3, dtype=DOUBLE)
    resets = torch.zeros(9, 1, dtype=torch.bool)
    resets[[0, 4, 5]] = True
    with torch.no_grad():
        state = random_state(net, 1, DOUBLE) if not bidirectional else None
        outputs, final = net(inputs, state, resets=resets)
        alone = [net(piece) for piece in (inputs[:4], inputs[4:5], inputs[5:])]
        torch.testing.assert_close(outputs, torch.cat([each[0] for each in alone]))
        if not bidirectional:
            same(final, alone[-1][1])


@pytest.mark.parametrize("kind", ALL)
def test_every_state(kind: Any) -> None:
    """The states of all steps are those of a run that ends there, and zero beyond a row's length."""
    net, inputs = network(kind, [3, 4, 4], True, DOUBLE), torch.randn(5, 2, 3, dtype=DOUBLE)
    lengths, state = torch.tensor([5, 3]), random_state(net, 2, DOUBLE)
    outputs, final, states = net(inputs, state, lengths, every=True)
    top = states[-1]
    torch.testing.assert_close(outputs, torch.cat([top.forward.hidden, top.backward.hidden], dim=-1))
    for ended, first, every in zip(final, states, states, strict=True):
        same(ended.forward, map_state(lambda part: torch.stack([part[4, 0], part[2, 1]]), every.forward))
        same(ended.backward, map_state(lambda part: part[0], first.backward))
        assert all((part[3:, 1] == 0).all() for part in flatten_state(every))
    ahead = net.layers[0].forward_layer
    assert isinstance(ahead, Recurrent)
    for t in range(1, 4):
        same(ahead(inputs[:t], state[0].forward)[1], map_state(lambda part, t=t: part[t - 1], states[0].forward))


@pytest.mark.parametrize("kind", ALL)
def test_steps_of_a_deep_network_are_its_run(kind: Any) -> None:
    net, inputs = network(kind, [3, 4, 5], False, DOUBLE), torch.randn(5, 2, 3, dtype=DOUBLE)
    outputs, final = net(inputs)
    state = None
    for t in range(5):
        out, state = net.step(inputs[t], state)
        torch.testing.assert_close(out, outputs[t])
    same(state, final)


def test_what_has_no_single_step_says_why() -> None:
    both = Bidirectional(GRUCell(3, 4), GRUCell(3, 4))
    for net in (both, Deep([both])):
        with pytest.raises(TypeError, match="its first output waits for the last input"):
            net.step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="batch_norm has statistics of each step"):
        Recurrent(GRUCell(3, 4), batch_norm=5).step(torch.zeros(2, 3))


ON = {"layer_norm": True, "zoneout": 0.2, "locked_dropout": 0.3, "recurrent_dropout": 0.4, "weight_dropout": 0.5}


@pytest.mark.parametrize("name", CELLS)
def test_randomness_is_for_training_only_and_follows_the_seed(name: str) -> None:
    options = {key: on for key, on in ON.items() if CELLS[name].recurrent or key[:9] not in ("recurrent", "weight_dr")}
    net, inputs = layer(name, **options), torch.randn(5, 2, 3, dtype=DOUBLE)

    def outputs(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return net(inputs)[0]

    assert torch.equal(outputs(1), outputs(1))
    assert not torch.equal(outputs(1), outputs(2))
    net.eval()
    assert torch.equal(outputs(1), outputs(2))


def test_options_that_are_off_change_nothing() -> None:
    plain, inputs = layer(), torch.randn(5, 2, 3, dtype=DOUBLE)
    off = Recurrent(plain.cell, **dict.fromkeys(ON, 0.0), memory="low")
    assert torch.equal(plain(inputs)[0], off(inputs)[0])
    assert off.state_dict().keys() == plain.state_dict().keys()


def test_zoneout_keeps_old_values_in_training_and_mixes_them_in_evaluation() -> None:
    net, inputs = layer("gru", zoneout=0.3), torch.randn(400, 2, 3, dtype=DOUBLE)
    state = random_state(net, 2, DOUBLE)
    with torch.no_grad():
        outputs, _ = net(inputs, state)
        before = torch.cat([state.hidden.unsqueeze(0), outputs[:-1]])
        after = torch.stack([net.cell(x, type(state)(h)).hidden for x, h in zip(inputs, before, strict=True)])
        stayed = kept(outputs, before)
        torch.testing.assert_close(torch.where(stayed, before, after), outputs)
        assert abs(float(stayed.double().mean()) - 0.3) < 0.03
        mixed = net.eval()(inputs[:1], state)[0]
    torch.testing.assert_close(mixed[0], 0.3 * state.hidden + 0.7 * after[0])


def test_zoneout_by_part_of_the_state() -> None:
    net, inputs = layer(zoneout={"cell": 0.5}), torch.randn(50, 2, 3, dtype=DOUBLE)
    _, _, states = net(inputs, every=True)
    assert 0.3 < float(kept(states.cell[1:], states.cell[:-1]).double().mean()) < 0.7
    assert not kept(states.hidden[1:], states.hidden[:-1]).any()
    # what an sLSTM keeps is in units of its stabiliser: only the hidden state can stay behind
    _, _, states = layer("slstm", zoneout=0.5)(inputs, every=True)
    assert 0.3 < float(kept(states.hidden[1:], states.hidden[:-1]).double().mean()) < 0.7
    assert not kept(states.cell[1:], states.cell[:-1]).any()


def by_hand(net: Recurrent, inputs: Tensor, mask: Tensor | None = None, weight_hh: Tensor | None = None) -> Tensor:
    """A GRU's outputs, a step after another, its hidden state masked before the product."""
    state, outputs = net.initial_state(inputs.shape[1]), []
    weights = net.cell.weights()
    weights = weights if weight_hh is None else weights._replace(weight_hh=weight_hh)
    for x in inputs:
        shown = state.hidden if mask is None else state.hidden * mask
        x = functional.linear(x, weights.weight_ih, weights.bias_ih)
        h = functional.linear(shown, weights.weight_hh, weights.bias_hh)
        state = GRUCell.update(GRUCell.Gates(*x.chunk(3, -1)), GRUCell.Gates(*h.chunk(3, -1)), state)
        outputs.append(state.hidden)
    return torch.stack(outputs)


def test_dropout_masks_hold_for_all_steps() -> None:
    inputs = torch.randn(5, 2, 3, dtype=DOUBLE)
    for option, shape in (("locked_dropout", (1, 2, 3)), ("recurrent_dropout", (2, 4)), ("weight_dropout", (12, 4))):
        net = layer("gru", **{option: 0.5})
        torch.manual_seed(7)
        mask = functional.dropout(torch.ones(shape, dtype=DOUBLE), 0.5)
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        torch.manual_seed(7)
        found, _ = net(inputs)
        wanted = {
            "locked_dropout": lambda net=net, mask=mask: by_hand(net, inputs * mask),
            "recurrent_dropout": lambda net=net, mask=mask: by_hand(net, inputs, mask),
            "weight_dropout": lambda net=net, mask=mask: by_hand(net, inputs, None, net.cell.weight_hh * mask),
        }
        torch.testing.assert_close(found, wanted[option]())
        torch.testing.assert_close(net.eval()(inputs)[0], by_hand(net, inputs))


def test_batch_norm_is_the_papers_formula() -> None:
    """Cooijmans et al. 2017, equations 6 to 8: in training by the batch, then by running statistics of each step."""
    net, inputs = layer(batch_norm=3), torch.randn(5, 6, 3, dtype=DOUBLE)
    w, u, b, d = net.cell.state_dict().values()
    assert net.batch_norm is not None
    assert net.norm_ih is not None
    assert net.norm_hh is not None
    assert net.norm_state is not None
    running = {name: part.clone() for name, part in net.batch_norm.state_dict().items()}

    def normal(values: Tensor, place: str, t: int, training: bool) -> Tensor:
        mean, variance = running[f"mean_{place}"][min(t, 2)], running[f"variance_{place}"][min(t, 2)]
        if training:
            mean.mul_(0.9).add_(0.1 * values.mean(0))
            variance.mul_(0.9).add_(0.1 * values.var(0))  # unbiased
            mean, variance = values.mean(0), values.var(0, unbiased=False)
        return (values - mean) / (variance + 1e-5).sqrt()

    for training in (True, True, False):
        net.train(training)
        with torch.no_grad():
            outputs, _ = net(inputs)
            h = c = torch.zeros(6, 4, dtype=DOUBLE)
            for t, x in enumerate(inputs):
                gates = normal(x @ w.t(), "ih", t, training) * net.norm_ih + b
                gates = gates + normal(h @ u.t(), "hh", t, training) * net.norm_hh + d
                i, f, g, o = gates.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                shown = normal(c, "state", t, training) * net.norm_state[0] + net.norm_state[1]
                h = torch.sigmoid(o) * torch.tanh(shown)
                torch.testing.assert_close(outputs[t], h)
        for name, part in net.batch_norm.state_dict().items():
            torch.testing.assert_close(part, running[name])


def test_batch_norm_does_not_count_padding() -> None:
    """Nor does a step that one row reaches change the running statistics."""
    for reverse in (False, True):
        clean, ragged = layer("reset-first-gru", batch_norm=9, reverse=reverse), None
        ragged = layer("reset-first-gru", batch_norm=9, reverse=reverse)
        ragged.load_state_dict(clean.state_dict())
        inputs = torch.randn(5, 4, 3, dtype=DOUBLE)
        more = torch.cat([inputs, torch.full((5, 1, 3), torch.nan, dtype=DOUBLE)], dim=1)
        outputs, _ = clean(inputs)
        found, _ = ragged(more, lengths=torch.tensor([5, 5, 5, 5, 0]))
        torch.testing.assert_close(found[:, :4], outputs)
        for a, b in zip(clean.buffers(), ragged.buffers(), strict=True):
            torch.testing.assert_close(a, b)
    ragged.train()
    before = [part.clone() for part in ragged.buffers()]
    outputs, _ = ragged(inputs[:, :1])
    assert all(torch.equal(a, b) for a, b in zip(before, ragged.buffers(), strict=True))
    torch.testing.assert_close(outputs, ragged.eval()(inputs[:, :1])[0])


@pytest.mark.parametrize("name", CELLS)
def test_normalisation_starts_and_trains(name: str) -> None:
    for option, gain in (("layer_norm", 1.0), ("batch_norm", 0.1)):
        net = Recurrent(CELLS[name](3, 4), **{option: 5})
        gains = {key: part for key, part in net.named_parameters() if key.startswith("norm")}
        assert ("norm_hh" in gains) == CELLS[name].recurrent
        assert ("norm_state" in gains) == name.endswith("lstm") * (name not in ("slstm", "min-lstm"))
        for key, part in gains.items():
            assert (part.detach()[:1] == gain).all()
            if key == "norm_state":
                assert (part.detach()[1] == 0).all()
        outputs, _ = net(torch.randn(5, 3, 3))
        outputs.square().sum().backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in net.parameters())


def test_wrong_options_are_named() -> None:
    gru, lstm, slstm, linear = GRUCell(3, 4), LSTMCell(3, 4), CELLS["slstm"](3, 4), CELLS["min-gru"](3, 4)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (gru, {"layer_norm": True, "batch_norm": 3}, "no layer_norm beside it"),
        (gru, {"batch_norm": -1}, "batch_norm = -1: expected a number of steps"),
        (gru, {"zoneout": 1.0}, "zoneout = 1.0: expected a probability"),
        (lstm, {"zoneout": {"cell": -0.1}}, "zoneout of 'cell' = -0.1: expected a probability"),
        (lstm, {"zoneout": {"sell": 0.1}}, "of a LSTMCell's state these can keep old values: hidden, cell"),
        (slstm, {"zoneout": {"normaliser": 0.1}}, "can keep old values: hidden$"),
        (gru, {"locked_dropout": 1.5}, "locked_dropout = 1.5"),
        (linear, {"recurrent_dropout": 0.1}, "MinGRUCell has no W_hh to drop from"),
        (linear, {"weight_dropout": 0.1}, "MinGRUCell has no W_hh to drop from"),
        (gru, {"memory": "small"}, "memory: expected 'fast' or 'low', found 'small'"),
    ]
    for cell, options, reason in wrong:
        with pytest.raises(ValueError, match=reason):
            Recurrent(cell, **options)
    net, x = Recurrent(gru), torch.zeros(5, 2, 3)
    with pytest.raises(ValueError, match=r"resets: expected bool \[5, 2\], found bool \[2, 5\]"):
        net(x, resets=torch.zeros(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"resets: expected bool \[5, 2\], found int64 \[5, 2\]"):
        net(x, resets=torch.zeros(5, 2, dtype=torch.int64))


def test_options_show() -> None:
    net: nn.Module = Recurrent(GRUCell(3, 4), reverse=True, zoneout=0.1, batch_norm=7, memory="low")
    assert "reverse=True, zoneout=0.1, memory=low" in repr(net)
    assert "StepBatchNorm(steps=7)" in repr(net)


@pytest.mark.parametrize("options", [ON, {"batch_norm": 2}], ids=["masks", "batch_norm"])
def test_one_graph_without_breaks(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer does around a backend can be traced whole."""
    monkeypatch.setattr(ostinato.recurrent, "recurrence", reference.run)
    net, inputs, lengths = layer("lstm", **options), torch.randn(3, 3, 3, dtype=DOUBLE), torch.tensor([3, 2, 0])
    torch._dynamo.reset()
    compiled = torch.compile(deepcopy(net), fullgraph=True, backend="eager")
    torch.manual_seed(1)
    found = compiled(inputs, None, lengths, every=True)
    torch.manual_seed(1)
    same(found, net(inputs, None, lengths, every=True))
