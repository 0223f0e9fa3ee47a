"""The native pass over trees beside the reference: states and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato import backend
from ostinato.errors import BackendUnavailable
from ostinato.kernels import tree_lstm
from ostinato.kernels.cell_kernels import native_module
from ostinato.tree_cells import ChildSumTreeLSTMCell, NaryTreeLSTMCell, RecursiveCell, TreeLSTMState
from ostinato.trees import Forest, Recursive
from tests.contract import close, derive, randomise
from tests.test_trees import laid_out, random_tree

pytestmark = pytest.mark.skipif(native_module() is None, reason="there is no native module")

LEAF, CHAIN = np.array([-1]), np.array([1, 2, 3, -1])
MAKES: dict[str, Callable[[int], Any]] = {
    "2": lambda size: NaryTreeLSTMCell(4, size),
    "3": lambda size: NaryTreeLSTMCell(4, size, arity=3),
    "any": lambda size: ChildSumTreeLSTMCell(4, size),
}


def make(kind: str, size: int, dtype: torch.dtype = torch.float64) -> Recursive:
    network = Recursive(MAKES[kind](size)).to(dtype)
    randomise(network)
    return network


def some_trees(seed: int, arity: int | None, count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [random_tree(rng, int(rng.integers(1, 12)), arity or 5) for _ in range(count)]


def run(network: Recursive, inputs: Tensor, shape: Forest, kernel: str) -> tuple[list[Tensor], list[Tensor]]:
    inputs = inputs.clone().requires_grad_()
    with backend(kernel):
        states = list(network(inputs, shape))
        return states, derive(states, [inputs, *network.parameters()])


def compare(network: Recursive, trees: list[np.ndarray], words_inside: bool) -> None:
    shape = laid_out(trees, network.cell.arity)
    dtype = next(network.parameters()).dtype
    inputs = torch.randn(len(shape.order) if words_inside else shape.leaves, 4, dtype=dtype)
    found, wanted = (run(network, inputs, shape, kernel) for kernel in ("native", "reference"))
    close(found[0], wanted[0], dtype, "state")
    close(found[1], wanted[1], dtype, "gradient")
    with torch.no_grad(), backend("native"):
        again = network(inputs, shape)  # which writes every level to the same rows
    close(list(again), found[0], dtype, "no gradient")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 16, 33])
@pytest.mark.parametrize("kind", MAKES)
def test_any_trees(kind: str, size: int, dtype: torch.dtype) -> None:
    network = make(kind, size, dtype)
    for words_inside in (False, True):
        compare(network, some_trees(size, network.cell.arity), words_inside)
        compare(network, [LEAF], words_inside)
        compare(network, [LEAF, CHAIN, LEAF], words_inside)


@pytest.mark.parametrize("kind", MAKES)
def test_every_instruction_set(kind: str, use_isa: Callable[[str], None]) -> None:
    for name in native_module().instruction_sets():
        use_isa(name)
        network = make(kind, 19, torch.float32)
        compare(network, some_trees(5, network.cell.arity), words_inside=True)


@pytest.mark.parametrize("kind", MAKES)
def test_several_threads_share_a_level(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make(kind, 5)
    trees = some_trees(1, network.cell.arity, 9)
    shape = laid_out(trees, network.cell.arity)
    inputs = torch.randn(shape.leaves, 4, dtype=torch.float64)
    one = run(network, inputs, shape, "native")
    monkeypatch.setattr(tree_lstm, "_WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three = run(network, inputs, shape, "native")
    close([*three[0], *three[1]], [*one[0], *one[1]], torch.float64)


@pytest.mark.parametrize("kind", MAKES)
def test_gradients_are_the_slopes(kind: str) -> None:
    network = make(kind, 3)
    shape = laid_out([*some_trees(2, network.cell.arity, 2), CHAIN], network.cell.arity)
    names, weights = zip(*network.named_parameters(), strict=True)

    def function(inputs: Tensor, *values: Tensor) -> Any:
        return tuple(torch.func.functional_call(network, dict(zip(names, values, strict=True)), (inputs, shape)))

    inputs = torch.randn(shape.leaves, 4, dtype=torch.float64, requires_grad=True)
    given = [weight.detach().clone().requires_grad_() for weight in weights]
    with backend("native"):
        assert torch.autograd.gradcheck(function, (inputs, *given))


@pytest.mark.parametrize("part", TreeLSTMState._fields)
def test_a_gradient_by_one_part_of_the_state_alone(part: str) -> None:
    network = make("2", 4)
    shape = laid_out(some_trees(3, 2), 2)
    inputs = torch.randn(shape.leaves, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for kernel in ("native", "reference"):
        with backend(kernel):
            found.append(torch.autograd.grad(getattr(network(inputs, shape), part).sum(), [inputs]))
    close(list(found[0]), list(found[1]), torch.float64)


def test_inputs_and_weights_that_do_not_stand_on_end() -> None:
    network = make("2", 4)
    shape = laid_out(some_trees(4, 2), 2)
    inputs = torch.randn(4, shape.leaves, dtype=torch.float64).t()
    network.cell.weight_hh.data = network.cell.weight_hh.data.t().contiguous().t()
    found, wanted = (run(network, inputs, shape, kernel) for kernel in ("native", "reference"))
    close([*found[0], *found[1]], [*wanted[0], *wanted[1]], torch.float64)


class Leaky(NaryTreeLSTMCell):
    """Forgets of everything a little more."""

    def update(self, x: Tensor, products: tuple[Tensor, ...], children: Any, level: Any) -> TreeLSTMState:
        state = super().update(x, products, children, level)
        return TreeLSTMState(0.5 * state.hidden, state.cell)


def test_what_the_native_pass_does_not_run() -> None:
    shape = laid_out([CHAIN], 2)
    leaky = Recursive(Leaky(4, 4))
    inputs = torch.randn(1, 4)
    plain = Recursive(NaryTreeLSTMCell(4, 4))
    plain.load_state_dict(leaky.state_dict())
    assert torch.allclose(leaky(inputs, shape).hidden[0], 0.5 * plain(inputs, shape).hidden[0])
    with backend("native"):
        for other in (leaky, Recursive(RecursiveCell(4, 4))):
            with pytest.raises(BackendUnavailable, match="runs Tree-LSTMs only"):
                other(inputs, shape)
        with pytest.raises(BackendUnavailable, match=r"found torch\.bfloat16"):
            plain.to(torch.bfloat16)(inputs.bfloat16(), shape)
        plain.float()
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(BackendUnavailable, match="no part in autocast"):
            plain(inputs, shape)
    with torch.autocast("cpu", torch.bfloat16):
        assert plain(inputs, shape).hidden.isfinite().all()
