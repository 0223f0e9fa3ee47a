"""The layers under autocast, `torch.compile` and `torch.func`, and differentiated twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from ostinato import backend
from tests.layer_pairs import TOLERANCE, close, every_kind, flat, initial, pair

# what PyTorch says of itself
pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
]


@pytest.mark.parametrize("carried", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@every_kind
def test_autocast_gives_torchs_types(kind: str, dtype: torch.dtype, carried: torch.dtype | None) -> None:
    double = torch.float64 if dtype == torch.float64 else torch.float32
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=True, dtype=double)
    inputs, hx = torch.randn(4, 2, 3, dtype=dtype), None
    if carried is not None:
        kept = torch.float64 if dtype == torch.float64 else carried
        hx = initial(ours, 2)
        hx = tuple(part.to(kept) for part in hx) if isinstance(hx, tuple) else hx.to(kept)
    packed = pack_padded_sequence(inputs, torch.tensor([4, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        for given in (inputs, packed):
            found, wanted = flat(ours(given, hx)), flat(theirs(given, hx))
            assert [part.dtype for part in found] == [part.dtype for part in wanted]
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0.03)
        outputs, final, states = ours(inputs, hx, torch.tensor([4, 2]), return_states=True)
        assert [part.dtype for part in flat(final)] == [part.dtype for part in flat(ours(inputs, hx)[1])]
        assert states[0].hidden.dtype == outputs.dtype
    outputs.float().sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype == double for weight in ours.parameters())


class Tagger(nn.Module):
    def __init__(self, recurrent: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(width, 2)

    def forward(self, inputs: Tensor, hx: Any, lengths: Tensor | None) -> Tensor:
        outputs, final = self.recurrent(inputs, hx, lengths)
        return self.head(outputs).sum() + sum(part.pow(2).sum() for part in flat(final))


@pytest.mark.parametrize("engine", ["eager", "aot_eager"])
@pytest.mark.parametrize("ragged", [False, True])
@every_kind
def test_compiles_in_one_graph(kind: str, ragged: bool, engine: str) -> None:
    torch.compiler.reset()
    ours, _ = pair(kind, 3, 5, 2, bidirectional=engine == "eager", batch_first=True)
    model = Tagger(ours, ours(torch.zeros(1, 1, 3))[0].shape[2])
    inputs, hx = torch.randn(2, 3, 3), initial(ours, 2)
    lengths = torch.tensor([3, 2]) if ragged else None
    gradients = []
    for network in (torch.compile(model, fullgraph=True, backend=engine), model):
        total = network(inputs, hx, lengths)
        gradients.append([total, *torch.autograd.grad(total, list(model.parameters()))])
    close(gradients[0], gradients[1], torch.float32)


@pytest.mark.parametrize("ragged", [False, True])
@every_kind
def test_vmap_over_another_batch(kind: str, ragged: bool) -> None:
    """Of inputs, with and without a state, and of weights: what a loop gives."""
    ours, _ = pair(kind, 3, 5, 2, bidirectional=True, dtype=torch.float64)
    inputs, hx = torch.randn(3, 4, 2, 3, dtype=torch.float64), initial(ours, 2, dtype=torch.float64)
    lengths = torch.tensor([4, 2]) if ragged else None
    weights = {name: torch.stack([weight, weight / 2, -weight]) for name, weight in ours.state_dict().items()}

    def ensemble(weights: dict[str, Tensor], inputs: Tensor) -> Any:
        return torch.func.functional_call(ours, weights, (inputs, None, lengths))

    for function, arguments in (
        (lambda inputs: ours(inputs, hx, lengths), (inputs,)),
        (lambda inputs: ours(inputs, None, lengths), (inputs,)),
        (ensemble, (weights, inputs)),
    ):
        found = torch.func.vmap(function)(*arguments)
        one = [
            [{name: part[i] for name, part in a.items()} if isinstance(a, dict) else a[i] for a in arguments]
            for i in range(3)
        ]
        wanted = [flat(function(*each)) for each in one]
        close(flat(found), [torch.stack(parts) for parts in zip(*wanted, strict=True)], torch.float64)


@every_kind
def test_jacobians(kind: str) -> None:
    """By reverse and forward mode, as finite differences have them."""
    ours, _ = pair(kind, 2, 4, 2, bidirectional=True, dtype=torch.float64)
    inputs, lengths, step = torch.randn(3, 2, 2, dtype=torch.float64), torch.tensor([3, 2]), 1e-5
    for given in (None, lengths):
        columns = []
        for direction in torch.eye(inputs.numel(), dtype=torch.float64).view(-1, *inputs.shape):
            ahead, back = (ours(inputs + sign * step * direction, None, given)[0] for sign in (1, -1))
            columns.append((ahead - back) / (2 * step))
        wanted = torch.stack(columns, dim=-1).view(*columns[0].shape, *inputs.shape)
        for transform in (torch.func.jacrev, torch.func.jacfwd):
            found = transform(lambda inputs, given=given: ours(inputs, None, given)[0])(inputs)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", TOLERANCE)
@every_kind
def test_second_derivatives(kind: str, dtype: torch.dtype) -> None:
    """Of outputs and final state by inputs, initial state and weights, as torch.nn has them."""
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=True, dtype=dtype)
    inputs, hx = torch.randn(4, 2, 3, dtype=dtype), initial(ours, 2, dtype=dtype)
    results = []
    for name, net in (("auto", theirs), ("auto", ours), ("reference", ours)):
        parts = [part.clone().requires_grad_() for part in flat(hx)]
        leaves = [inputs.clone().requires_grad_(), *parts, *net.parameters()]
        with backend(name):
            final = flat(net(leaves[0], tuple(parts) if len(parts) > 1 else parts[0]))
            first = torch.autograd.grad(sum(part.pow(2).sum() for part in final), leaves, create_graph=True)
        total = sum(part.pow(2).sum() for part in first)
        results.append(list(torch.autograd.grad(total, leaves)))
    close(results[1], results[0], dtype)
    close(results[2], results[0], dtype)


@every_kind
def test_second_derivatives_of_a_packed_batch(kind: str) -> None:
    """By finite differences."""
    ours, _ = pair(kind, 2, 4, 1, bidirectional=True, dtype=torch.float64)
    packed = pack_sequence([torch.randn(length, 2, dtype=torch.float64) for length in (1, 3)], enforce_sorted=False)
    data = packed.data.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda data: ours(packed._replace(data=data))[0].data, (data,))
