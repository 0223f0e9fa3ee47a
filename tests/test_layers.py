"""`RNN`, `GRU` and `LSTM` beside `torch.nn`'s, and what they can do beyond."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from ostinato import GRU, LSTM, RNN
from ostinato.kernels.recurrence import recurrence
from tests.layer_pairs import KINDS, TOLERANCE, agree, close, every_kind, flat, initial, pair, run

# what PyTorch says of itself
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 3, "bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True, "dropout": 0.25},
]


@pytest.mark.parametrize("options", OPTIONS)
@every_kind
def test_the_parameters_are_those_of_torch_nn(kind: str, options: dict[str, Any]) -> None:
    """Names, order, shapes, first values from one seed, and a state dict in both directions."""
    ours_class, theirs_class, extra = KINDS[kind]
    torch.manual_seed(7)
    theirs = theirs_class(4, 5, **extra, **options)
    torch.manual_seed(7)
    ours = ours_class(4, 5, **extra, **options)
    for (name, found), (wanted_name, wanted) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == wanted_name
        assert torch.equal(found, wanted)
        assert found.requires_grad
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    for found_row, wanted_row in zip(ours.all_weights, theirs.all_weights, strict=True):
        assert all(map(torch.equal, found_row, wanted_row))
    ours.reset_parameters()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert ours.flatten_parameters() is None
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def test_positions_are_those_of_torch_nn() -> None:
    for ours, theirs, arguments in (
        (RNN, nn.RNN, (3, 5, 2, "relu", False, True, 0.5, True)),
        (GRU, nn.GRU, (3, 5, 2, False, True, 0.5, True)),
        (LSTM, nn.LSTM, (3, 5, 2, False, True, 0.5, True, 2, "cpu", torch.float64)),
    ):
        assert repr(ours(*arguments)) == repr(theirs(*arguments))
        assert ours(*arguments).weight_hh_l1.dtype == theirs(*arguments).weight_hh_l1.dtype
    assert ours(3, 5, memory="low").extra_repr() == "3, 5, memory=low"
    elsewhere = ours(3, 5, device="meta")
    inputs, lengths = torch.zeros(4, 2, 3, device="meta"), torch.tensor([4, 2])
    assert elsewhere(inputs)[0].shape == elsewhere(inputs, lengths=lengths)[0].shape == (4, 2, 5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bidirectional", [False, True])
@every_kind
def test_three_layers_agree(kind: str, bidirectional: bool, dtype: torch.dtype) -> None:
    ours, theirs = pair(kind, 5, 7, 3, bidirectional=bidirectional, dtype=dtype)
    agree(ours, theirs, torch.randn(9, 3, 5, dtype=dtype), initial(ours, 3, dtype=dtype))


@settings(deadline=None, max_examples=40)
@draw(
    kind=st.sampled_from(list(KINDS)),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 4), st.sampled_from([1, 2, 7]), st.sampled_from([1, 4, 7])),
    num_layers=st.integers(1, 3),
    layout=st.sampled_from(["time first", "batch first", "one sequence", "one sequence, batch first"]),
    with_state=st.booleans(),
    options=st.fixed_dictionaries({"bias": st.booleans(), "bidirectional": st.booleans()}),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_any_shape_agrees(
    kind: str, shape: tuple[int, ...], num_layers: int, layout: str, with_state: bool, options: Any, dtype: torch.dtype
) -> None:
    steps, batch, width, hidden = shape
    if kind == "projected":
        hidden += 3
    first = "batch first" in layout
    ours, theirs = pair(kind, width, hidden, num_layers, batch_first=first, dtype=dtype, **options)
    single = layout.startswith("one")
    inputs = torch.randn(*((steps,) if single else (batch, steps) if first else (steps, batch)), width, dtype=dtype)
    hx = initial(ours, *(() if single else (batch,)), dtype=dtype) if with_state else None
    agree(ours, theirs, inputs, hx)
    assert ours(inputs, hx)[0].shape == theirs(inputs, hx)[0].shape


@every_kind
def test_no_rows_give_no_rows(kind: str) -> None:
    ours, theirs = pair(kind, 3, 5, 2)
    found, wanted = ours(torch.zeros(4, 0, 3)), theirs(torch.zeros(4, 0, 3))
    assert [part.shape for part in flat(found)] == [part.shape for part in flat(wanted)]
    outputs, _ = ours(torch.zeros(4, 0, 3), lengths=torch.zeros(0, dtype=torch.int64))
    assert outputs.shape == wanted[0].shape


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", [[6, 6, 4, 1], [2, 6, 1, 6, 3], [3]])
@pytest.mark.parametrize("batch_first", [False, True])
@every_kind
def test_packed_sequences_agree(kind: str, batch_first: bool, lengths: list[int], dtype: torch.dtype) -> None:
    """Sorted and not: the outputs' packing, their values, final states and every gradient."""
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=True, batch_first=batch_first, dtype=dtype)
    for enforce_sorted in (True, False) if lengths == sorted(lengths, reverse=True) else (False,):
        packed = pack_sequence([torch.randn(length, 3, dtype=dtype) for length in lengths], enforce_sorted)

        def call(net: Any, data: Tensor, hx: Any, packed: PackedSequence = packed) -> Any:
            outputs, final = net(packed._replace(data=data), hx)
            assert isinstance(outputs, PackedSequence)
            for found, wanted in zip(outputs[1:], packed[1:], strict=True):
                assert found is wanted or torch.equal(found, wanted)
            return outputs, final

        for hx in (None, initial(ours, len(lengths), dtype=dtype)):
            agree(ours, theirs, packed.data, hx, call)


@settings(deadline=None, max_examples=25)
@draw(
    kind=st.sampled_from(list(KINDS)),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    padding=st.integers(0, 2),
)
def test_lengths_are_a_packing(
    kind: str, lengths: list[int], bidirectional: bool, batch_first: bool, padding: int
) -> None:
    dtype, wanted_lengths, steps = torch.float64, torch.tensor(lengths), max(lengths) + padding
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=bidirectional, batch_first=batch_first, dtype=dtype)
    inputs = torch.randn(len(lengths), steps, 3, dtype=dtype)
    inputs = inputs if batch_first else inputs.transpose(0, 1)
    hx = initial(ours, len(lengths), dtype=dtype)

    def packing(inputs: Tensor, hx: Any) -> Any:
        packed = pack_padded_sequence(inputs, wanted_lengths, batch_first, enforce_sorted=False)
        outputs, final = theirs(packed, hx)
        return pad_packed_sequence(outputs, batch_first, total_length=steps)[0], final

    found = run(ours, inputs, hx, lambda inputs, hx: ours(inputs, hx, wanted_lengths))
    for results, wanted in zip(found, run(theirs, inputs, hx, packing), strict=True):
        close(results, wanted, dtype)


@every_kind
def test_an_empty_row_keeps_its_state_and_padding_does_not_count(kind: str) -> None:
    ours, _ = pair(kind, 3, 5, 2, bidirectional=True)
    hx, inputs, lengths = initial(ours, 3), torch.randn(4, 3, 3), torch.tensor([4, 0, 2])
    dirty = inputs.clone()
    dirty[2:, 2] = dirty[:, 1] = torch.nan
    found = run(ours, dirty, hx, lambda *given: ours(*given, lengths))
    assert (found[0][0][:, 1] == 0).all()
    assert (found[0][0][2:, 2] == 0).all()
    for part, before in zip(found[0][1:], flat(hx), strict=True):
        assert torch.equal(part[:, 1], before[:, 1])
    wanted = run(ours, inputs, hx, lambda *given: ours(*given, lengths))
    for results, clean in zip(found, wanted, strict=True):
        assert all(map(torch.equal, results, clean))


def apart(net: Any, plain: Any, inputs: Tensor, hx: Any, lengths: list[int], resets: Tensor) -> Any:
    """Each row and direction of `net` run piece by piece through `plain`, of one direction: from zeros at a reset."""
    ways, parts = 2 if net.bidirectional else 1, flat(hx)
    rows, finals = [], []
    for row, length in enumerate(lengths):
        outputs, after = [], []
        for way in range(ways):
            own = {
                name.removesuffix("_reverse"): weight
                for name, weight in net.named_parameters()
                if ("_reverse" in name) == way
            }
            steps, starts = inputs[:length, row], resets[:length, row]
            if way:  # a sequence that begins at a step is the end of the one before
                steps, starts = steps.flip(0), torch.cat([starts[1:], starts.new_zeros(1)]).flip(0)
            state = [part[way * net.num_layers :][: net.num_layers, row] for part in parts]
            bounds = [0, *[step for step in range(1, length) if starts[step]], length]
            done = []
            for start, end in pairwise(bounds):
                before = None if starts[start] else tuple(state) if len(state) > 1 else state[0]
                part, state = torch.func.functional_call(plain, own, (steps[start:end], before))
                state = flat(state)
                done.append(part)
            outputs.append(torch.cat(done).flip(0) if way else torch.cat(done))
            after.append(state)
        whole = torch.cat(outputs, dim=-1)
        rows.append(torch.cat([whole, whole.new_zeros(len(inputs) - length, whole.shape[1])]))
        finals.append([torch.cat(each) for each in zip(*after, strict=True)])
    return torch.stack(rows, dim=1), [torch.stack(each, dim=1) for each in zip(*finals, strict=True)]


@settings(deadline=None, max_examples=40)
@draw(
    kind=st.sampled_from(list(KINDS)),
    bidirectional=st.booleans(),
    layout=st.sampled_from(["time first", "batch first", "packed", "one sequence"]),
    seed=st.integers(0, 99),
)
def test_resets_are_pieces_run_apart(kind: str, bidirectional: bool, layout: str, seed: int) -> None:
    """Outputs, final states and every gradient, with lengths: three layers ahead, or one in both directions."""
    torch.manual_seed(seed)
    dtype, first = torch.float64, layout == "batch first"
    layers = 1 if bidirectional else 3
    net, _ = pair(kind, 3, 5, layers, bidirectional=bidirectional, batch_first=first, dtype=dtype)
    plain, _ = pair(kind, 3, 5, layers, dtype=dtype)
    lengths = torch.tensor([4] if layout == "one sequence" else [5, 2, 6])
    resets = torch.rand(6, len(lengths)) < 0.4
    inputs, state = torch.randn(6, len(lengths), 3, dtype=dtype), initial(net, len(lengths), dtype=dtype)

    def call(inputs: Tensor, hx: Any) -> Any:
        if layout == "batch first":
            outputs, final = net(inputs.transpose(0, 1), hx, lengths, resets.t())
            return outputs.transpose(0, 1), final
        if layout == "packed":
            outputs, final = net(pack_padded_sequence(inputs, lengths, enforce_sorted=False), hx, resets=resets)
            return pad_packed_sequence(outputs)[0], final
        if layout == "one sequence":
            single = tuple(part[:, 0] for part in hx) if isinstance(hx, tuple) else hx[:, 0]
            outputs, final = net(inputs[:, 0], single, lengths[0], resets[:, 0])
            return outputs.unsqueeze(1), [part.unsqueeze(1) for part in flat(final)]
        return net(inputs, hx, lengths, resets)

    found = run(net, inputs, state, call)
    wanted = run(net, inputs, state, lambda inputs, hx: apart(net, plain, inputs, hx, lengths.tolist(), resets))
    close(found[0], wanted[0], dtype)
    close(found[1], wanted[1], dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
@every_kind
def test_states_of_all_steps(kind: str, bidirectional: bool) -> None:
    """By layer and direction, in the order of hx: those that a run up to each step ends with."""
    net, _ = pair(kind, 3, 5, 1 if bidirectional else 3, bidirectional=bidirectional, dtype=torch.float64)
    inputs, hx = torch.randn(5, 2, 3, dtype=torch.float64), initial(net, 2, dtype=torch.float64)
    lengths = torch.tensor([5, 3])
    outputs, final, states = net(inputs, hx, lengths, return_states=True)
    assert len(states) == len(flat(final)[0])
    top = [state.hidden for state in states[-2 if bidirectional else -1 :]]
    assert torch.equal(torch.cat(top, dim=-1), outputs)
    for step in range(5):
        ends = net(inputs[: step + 1], hx, lengths.clamp(max=step + 1))
        starts = net(inputs[step:], hx, (lengths - step).clamp(min=0))
        for index, state in enumerate(states):
            for part, ahead, back in zip(state, flat(ends[1]), flat(starts[1]), strict=True):
                wanted = back if bidirectional and index else ahead
                live = lengths > step
                torch.testing.assert_close(part[step, live], wanted[index, live])
                assert not part[step, ~live].any()


def test_states_are_shaped_like_the_outputs() -> None:
    net = LSTM(3, 5, 2, batch_first=True, bidirectional=True, proj_size=2)
    packed = pack_sequence([torch.randn(2, 3), torch.randn(4, 3)], enforce_sorted=False)
    padded, lengths = pad_packed_sequence(packed, batch_first=True)
    states = net(padded, lengths=lengths, return_states=True)[2]
    assert [type(state).__name__ for state in states] == ["LSTMState"] * 4
    assert {tuple(state.hidden.shape) + tuple(state.cell.shape) for state in states} == {(2, 4, 2, 2, 4, 5)}
    for found, wanted in zip(flat(net(packed, return_states=True)[2]), flat(states), strict=True):
        torch.testing.assert_close(found, wanted)
    single = net(padded[1], return_states=True)[2]
    torch.testing.assert_close(single[3].cell, states[3].cell[1])


@every_kind
def test_dropout_is_torchs(kind: str) -> None:
    """The same mask from the same seed; none in evaluation; with probability one a layer above reads zeros."""
    ours, theirs = pair(kind, 3, 5, 3, dropout=0.5, batch_first=True)
    inputs = torch.randn(2, 6, 3)
    results = []
    for net in (ours, theirs):
        torch.manual_seed(3)
        results.append(run(net, inputs, None))
    close(results[0][0], results[1][0], torch.float32)
    close(results[0][1], results[1][1], torch.float32)
    agree(ours.eval(), theirs.eval(), inputs, None)
    ours, theirs = pair(kind, 3, 5, 2, dropout=1.0, bidirectional=True)
    agree(ours, theirs, inputs, None)
    assert torch.equal(ours(inputs)[0], ours(inputs + 1)[0])


@every_kind
def test_a_copy_is_of_its_own(kind: str) -> None:
    ours, _ = pair(kind, 3, 5, 2)
    other, inputs = copy.deepcopy(ours), torch.randn(4, 2, 3)
    wanted = ours(inputs)[0]
    assert torch.equal(other(inputs)[0], wanted)
    with torch.no_grad():
        other.weight_hh_l1.add_(1)
    assert torch.equal(ours(inputs)[0], wanted)
    assert not torch.equal(other(inputs)[0], wanted)
    other.weight_hh_l1 = nn.Parameter(ours.weight_hh_l1.detach())
    assert torch.equal(other(input=inputs)[0], wanted)
    assert ours.double()(inputs.double())[0].dtype == torch.float64


def test_memory_is_handed_to_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("ostinato.layers.recurrence", lambda call: calls.append(call) or recurrence(call))
    for memory in ("low", "fast"):
        GRU(3, 5, 2, bidirectional=True, memory=memory)(torch.zeros(4, 2, 3))
    assert [call.low_memory for call in calls] == [True] * 4 + [False] * 4


@every_kind
def test_inference_mode_and_memory_change_nothing(kind: str) -> None:
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=True)
    inputs, hx, lengths = torch.randn(4, 2, 3), initial(ours, 2), torch.tensor([4, 1])
    low = KINDS[kind][0](3, 5, 2, bidirectional=True, memory="low", **KINDS[kind][2])
    low.load_state_dict(ours.state_dict())
    agree(low, theirs, inputs, hx)
    with torch.inference_mode():
        found = [*flat(ours(inputs, hx)), *flat(ours(inputs, hx, lengths))]
    wanted = [*flat(ours(inputs, hx)), *flat(ours(inputs, hx, lengths))]
    close(found, wanted, torch.float32)
