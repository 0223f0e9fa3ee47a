"""What the layers refuse: by the type of torch.nn's error, with what was found and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from ostinato import GRU, LSTM, RNN, LSTMCell
from tests.layer_pairs import KINDS, initial, pair

# what PyTorch says of itself
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size: expected at least 1, found 0"),
        ({"hidden_size": -2}, "hidden_size: expected at least 1, found -2"),
        ({"num_layers": 0}, "num_layers: expected at least 1, found 0"),
        ({"num_layers": 1.5}, "num_layers: expected int, found 1.5"),
        ({"input_size": 3.0}, "input_size: expected int, found 3.0"),
        ({"bias": 1}, "bias: expected bool, found 1"),
        ({"batch_first": "yes"}, "batch_first: expected bool, found 'yes'"),
        ({"dropout": 1.5}, "dropout: expected a probability, a number from 0 to 1, found 1.5"),
        ({"dropout": True}, "found True"),
        ({"dropout": "0.5"}, "found '0.5'"),
        ({"proj_size": 5}, "proj_size: expected"),
        ({"proj_size": -1}, "proj_size: expected at least 0, found -1"),
    ],
)
@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_wrong_options_are_named_as_torch_has_them(kind: str, options: dict[str, Any], message: str) -> None:
    ours, theirs, _ = KINDS[kind]
    arguments = {"input_size": 3, "hidden_size": 5, **options}
    error = raised(lambda: ours(**arguments))
    assert message in str(error)
    assert type(error) is type(raised(lambda: theirs(**arguments)))


def test_wrong_options_of_one_class() -> None:
    with pytest.raises(ValueError, match="proj_size: expected 0, or in an LSTM less than 5, found 6"):
        LSTM(3, 5, proj_size=6)
    with pytest.raises(ValueError, match="proj_size: expected 0, or in an LSTM less than 5, found 2"):
        GRU(3, 5, proj_size=2)
    with pytest.raises(ValueError, match="nonlinearity: expected 'tanh' or 'relu', found 'sigmoid'"):
        RNN(3, 5, nonlinearity="sigmoid")
    with pytest.raises(ValueError, match="memory: expected 'fast' or 'low', found 'least'"):
        GRU(3, 5, memory="least")
    with pytest.raises(TypeError, match="nonlinearity"):
        GRU(3, 5, nonlinearity="relu")
    for kind in (GRU, nn.GRU):
        with pytest.warns(UserWarning, match=r"dropout.*0\.5.*layer"):
            kind(3, 5, dropout=0.5)


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm", "projected"])
def test_wrong_inputs_are_named_as_torch_has_them(kind: str) -> None:
    ours, theirs = pair(kind, 3, 5, 2, batch_first=True)
    inputs, width = torch.zeros(2, 4, 3), ours.proj_size or 5
    state = initial(ours, 2)

    def changed(change: Callable[[Tensor], Tensor]) -> Any:
        return tuple(map(change, state)) if isinstance(state, tuple) else change(state)

    name, axes = "hx, hidden", "[layers·directions, batch, hidden]"
    for given, hx, message in (
        (torch.zeros(2, 4, 1, 3), None, "input: expected [batch, time, input] = [2, 4, 3], found [2, 4, 1, 3]"),
        (torch.zeros(3), None, "found [3]"),
        (torch.zeros(2, 4, 4), None, "input: expected [batch, time, input] = [2, 4, 3], found [2, 4, 4]"),
        (torch.zeros(2, 4), None, "input: expected [time, input] = [2, 3], found [2, 4]"),
        (torch.zeros(2, 0, 3), None, "input: expected at least one step, found [2, 0, 3]"),
        (inputs.double(), None, "input: expected torch.float32 like the weights, found torch.float64"),
        (inputs.long(), None, "input: expected torch.float32 like the weights, found torch.int64"),
        (inputs, changed(lambda part: part[:, 0]), f"{axes} = [2, 2, {width}], found [2, {width}]"),
        (inputs[0], state, f"{name}: expected [layers·directions, hidden] = [2, {width}], found [2, 2, {width}]"),
        (inputs[:1], state, f"{name}: expected {axes} = [2, 1, {width}], found [2, 2, {width}]"),
        (inputs, changed(lambda part: part[:1]), f"= [2, 2, {width}], found [1, 2, {width}]"),
        (inputs, changed(Tensor.double), f"{name}: expected torch.float32 like the weights, found torch.float64"),
    ):
        error = raised(lambda given=given, hx=hx: ours(given, hx))
        assert message in str(error)
        assert type(error) is type(raised(lambda given=given, hx=hx: theirs(given, hx)))
    packed = pack_sequence([torch.zeros(3, 4), torch.zeros(2, 4)])
    for given, hx, message in (
        (packed, None, "input.data: expected [steps, input] = [5, 3], found [5, 4]"),
        (packed._replace(data=torch.zeros(5)), None, "input.data: expected [steps, input] = [5, 3], found [5]"),
        (packed._replace(data=torch.zeros(5, 3)), changed(lambda part: part[:, :1]), f"found [2, 1, {width}]"),
    ):
        error = raised(lambda given=given, hx=hx: ours(given, hx))
        assert message in str(error)
        assert isinstance(error, RuntimeError)


def test_wrong_kinds_of_things_are_named() -> None:
    gru, lstm, inputs = GRU(3, 5), LSTM(3, 5), torch.zeros(4, 2, 3)
    hidden, lengths, resets = torch.zeros(1, 2, 5), torch.tensor([4, 1]), torch.zeros(4, 2, dtype=torch.bool)
    packed, elsewhere = pack_padded_sequence(inputs, lengths), GRU(3, 5, device="meta")
    for error, message, call in (
        (TypeError, "input: expected a tensor, found list", lambda: gru([[0.0]])),
        (TypeError, "hx, hidden: expected a tensor, found tuple", lambda: gru(inputs, (hidden, hidden))),
        (RuntimeError, "hx: expected 2 tensors, (hidden, cell), found 1", lambda: lstm(inputs, hidden)),
        (RuntimeError, "hx: expected 2 tensors, (hidden, cell), found 0", lambda: lstm(inputs, ())),
        (RuntimeError, "input: expected on meta like the weights, found on cpu", lambda: elsewhere(inputs)),
        (RuntimeError, "hx, hidden: expected on cpu like the weights", lambda: gru(inputs, hidden.to("meta"))),
        (RuntimeError, "hx: expected 2 tensors, (hidden, cell), found 3", lambda: lstm(inputs, (hidden,) * 3)),
        (TypeError, "hx, cell: expected a tensor, found NoneType", lambda: lstm(inputs, (hidden, None))),
        (TypeError, "lengths: expected a tensor, found list", lambda: gru(inputs, lengths=[4, 1])),
        (TypeError, "lengths: expected torch.int64, found torch.int32", lambda: gru(inputs, lengths=lengths.int())),
        (ValueError, "lengths: expected [batch] = [2], found [3]", lambda: gru(inputs, lengths=torch.ones(3).long())),
        (ValueError, "lengths: expected values from 0 to 4, found 2 to 5", lambda: gru(inputs, lengths=lengths + 1)),
        (ValueError, "lengths: expected values from 0 to 4, found -1 to 2", lambda: gru(inputs, lengths=lengths - 2)),
        (ValueError, "lengths: expected None, for a PackedSequence brings", lambda: gru(packed, lengths=lengths)),
        (TypeError, "resets: expected torch.bool, found torch.int64", lambda: gru(inputs, resets=resets.long())),
        (ValueError, "resets: expected [time, batch] = [4, 2], found [2, 4]", lambda: gru(inputs, resets=resets.t())),
        (ValueError, "resets: expected [time] = [4], found [4, 2]", lambda: gru(inputs[:, 0], resets=resets)),
        (ValueError, "lengths: expected [] = [], found [2]", lambda: gru(inputs[:, 0], lengths=lengths)),
    ):
        found = raised(call)
        assert message in str(found)
        assert type(found) is error
    assert lstm(inputs, [hidden, hidden])[0].shape == lstm(inputs, LSTMCell.State(hidden, hidden))[0].shape
