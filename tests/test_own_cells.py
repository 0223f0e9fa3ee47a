"""Cells of a user's own on the native loop: what is served, what is refused and how, and what compiling them takes."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ostinato import GatedCell, Recurrent, backend
from ostinato.errors import BackendUnavailable
from ostinato.gated_cell import Norm, identity
from ostinato.kernels import cell_kernels
from ostinato.kernels.cell_kernels import kernel_of, native_module
from ostinato.kernels.equations import trace
from ostinato.kernels.expressions import choose_saved
from tests.contract import TOLERANCE, check_call, random_call
from tests.own_cell import Minimal

pytestmark = pytest.mark.skipif(native_module() is None, reason="the native module was not built")
ISAS: list[str] = native_module().instruction_sets() if native_module() else []
Function = Callable[..., Tensor]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"env": os.environ | environment, "cwd": Path(__file__).parents[1]}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


RUN_OWN = """
import torch
from ostinato import Recurrent, backend
from ostinato.errors import BackendUnavailable
from tests.own_cell import Minimal
torch.manual_seed(0)
net, inputs = Recurrent(Minimal(3, 4)), torch.randn(5, 2, 3)
try:
    with backend("native"):
        print(net(inputs)[0].sum().item())
except BackendUnavailable as error:
    print(error)
    outputs = net(inputs)[0]
    with backend("reference"):
        print(torch.equal(outputs, net(inputs)[0]))
"""


def test_an_own_cell_is_compiled_once(kernel_cache: Path, tmp_path: Path) -> None:
    """A second process takes what the first compiled; without it and without a compiler the reference runs."""
    for dtype in TOLERANCE:
        options = dict.fromkeys(["ragged", "resets", "zoneout"], True)
        assert "native" in check_call(random_call(Minimal, (7, 3, 4, 19), dtype, **options))
    kept = {path.name: path.stat().st_mtime_ns for path in (kernel_cache / "kernels").glob("Minimal-*.so")}
    assert kept
    torch.manual_seed(0)
    with backend("native"):
        wanted = Recurrent(Minimal(3, 4))(torch.randn(5, 2, 3))[0].sum().item()
    again = python(RUN_OWN, PATH="")
    assert math.isclose(float(again.stdout), wanted, rel_tol=1e-6), again.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (kernel_cache / "kernels").glob("Minimal-*.so")} == kept
    without = python(RUN_OWN, PATH="", OSTINATO_CACHE=str(tmp_path))
    assert without.stdout.splitlines()[1:] == ["True"], without.stderr
    assert "'native' was asked for: its equations are your own, and there is no C++ compiler here" in without.stdout


COMPILERS = {
    "fails": (
        "echo 'cell: warning: odd' >&2; echo 'cell: error: no such lane' >&2; exit 1",
        "its kernel could not be compiled: cell: error: no such lane .*c\\+\\+",
    ),
    "is killed": ("kill -9 $$", "its kernel could not be compiled: exit code -9"),
    "makes nothing": ("exit 0", "its kernel could not be kept or loaded: "),
    "makes nonsense": ('for out; do :; done; echo nonsense > "$out"', "its kernel could not be kept or loaded: "),
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_compiler_that_fails_is_a_reason(compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does, told = COMPILERS[compiler]
    (tmp_path / "c++").write_text(f"#!/bin/sh\n{does}\n")
    (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    net, inputs = Recurrent(cell_of(lambda x: torch.tanh(x) + 0.25)(2, 3)), torch.randn(4, 2, 2)
    with backend("native"), pytest.raises(BackendUnavailable, match=told):
        net(inputs)
    with backend("reference"):
        wanted = net(inputs)[0]
    assert torch.equal(net(inputs)[0], wanted)


def test_no_folder_for_kernels_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "file"))
    with backend("native"), pytest.raises(BackendUnavailable, match=r"could not be kept or loaded: .*file"):
        Recurrent(cell_of(lambda x: torch.tanh(x) + 0.75)(2, 3))(torch.zeros(2, 1, 2))

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("OSTINATO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with (
        backend("native"),
        pytest.raises(BackendUnavailable, match=r"home directory.*OSTINATO_CACHE can name a folder"),
    ):
        Recurrent(cell_of(lambda x: torch.tanh(x) + 0.75)(2, 3))(torch.zeros(2, 1, 2))


def cell_of(*functions: Function, arity: int = 1) -> Any:
    """A cell whose state's parts are functions of its inputs; those of a few functions share a compilation."""
    names = "abcd"[: len(functions)]
    state = namedtuple("State", ["hidden", *names[1:]])

    def update(x: Any, h: Any, old: Any) -> Any:
        return state(*(each(*x[at * arity : (at + 1) * arity]) for at, each in enumerate(functions)))

    gates = tuple(f"{name}{number}" for name in names for number in range(arity))
    entries = {"gates": gates, "State": state, "recurrent": False, "update": staticmethod(update)}
    return type("Applied", (GatedCell,), entries)


def apply(kind: Any, values: Tensor, name: str) -> tuple[Any, list[Tensor]]:
    """What a cell makes of values, by part of its state, and the derivatives by gate, on a backend.

    Args:
        kind: the cell.
        values: [units] for all gates, or [gates, units].
        name: of the backend.
    """
    cell = kind(1, values.shape[-1]).to(values.dtype)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.bias_ih.copy_(values.expand(len(kind.gates), -1).flatten())
    with backend(name):
        state = Recurrent(cell)(values.new_zeros(1, 1, 1))[1]
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in state), cell.bias_ih)  # type: ignore[arg-type]
    return [part.detach()[0] for part in state], list(gradient.chunk(len(kind.gates)))


HELD = torch.tensor([1.0, 2.0, 3.0])
REFUSED: dict[str, tuple[Function, str]] = {
    "branches": (lambda x: x if x.mean() > 0 else -x, "cannot be traced: it reads a value out of a tensor, as an `if`"),
    "reads": (lambda x: x * x[0, 0].item(), "cannot be traced: it reads a value out of a tensor"),
    "sums": (lambda x: x * x.sum(-1, keepdim=True), "no kernel for the operation sum: the equations must be"),
    "sums up": (lambda x: x + x.cumsum(-1), "no kernel for the operation cumsum"),
    "multiplies": (lambda x: x @ x.T @ x, "no kernel for the operation mm"),
    "turns": (lambda x: (x.T * x.T).T, "no kernel for the operation permute"),
    "sorts": (lambda x: x.sort(-1)[0], "no kernel for the operation sort"),
    "cuts": (lambda x: torch.cat([x[:, :1], x[:, 1:]], -1), "no kernel for the operation cat"),
    "normalises": (lambda x: functional.layer_norm(x, x.shape[1:]), "no kernel for the operation native_layer_norm"),
    "gelu": (functional.gelu, "no kernel for the operation gelu"),
    "sine": (lambda x: x * x.sin(), "no kernel for the operation sin"),
    "holds": (lambda x: x * HELD, "holds a tensor of its own: make it one of its `vectors`"),
    "holds a new one": (lambda x: x * torch.tensor([1.0, 2.0, 3.0]), "holds a tensor of its own"),
    "rounds": (lambda x: torch.div(x, 0.7, rounding_mode="floor"), "no kernel for the operation div that rounds"),
    "truncates": (lambda x: x.int() * 1.0 + 0 * x, "no kernel for the operation to_copy, which gives int32"),
    "narrows": (lambda x: x.bfloat16().to(x.dtype), "to_copy, which gives bfloat16 where the state is float64"),
    "widens": (lambda x: (x.double() * x).to(x.dtype), "to_copy, which gives float64 where the state is float32"),
    "draws": (lambda x: x * torch.rand_like(x), "no kernel for the operation rand_like"),
    "drops": (lambda x: functional.dropout(x, 0.5), "no kernel for the operation bernoulli"),
    "reads what is not written": (lambda x: x * torch.empty_like(x), "empty_like"),
    "goes by the size": (lambda x: x * x.shape[1], "depends on the size or the type of what it gets"),
    "goes by the type": (lambda x: x + torch.finfo(x.dtype).eps, "depends on the size or the type of what it gets"),
    "raises to a tensor": (lambda x: x.abs() ** x, "no kernel for the operation pow of a tensor"),
    "has another shape": (lambda x: x.expand(2, *x.shape), "cannot be traced: Mismatch in shape"),
    "has another type": (lambda x: torch.where(x > 0, 1.0, 0.0), "gives hidden in float32 where the state is float64"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_equations_beyond_arithmetic_are_refused(why: str) -> None:
    """With a reason, and before a compiler sees them; they run on the reference, and nothing is drawn for the trace."""
    function, told = REFUSED[why]
    kind, before = cell_of(function), torch.random.get_rng_state()
    assert re.search(told, str(kernel_of(kind)))
    assert torch.equal(torch.random.get_rng_state(), before)
    net = Recurrent(kind(3, 3))
    with backend("native"), pytest.raises(BackendUnavailable, match=told):
        net(torch.randn(2, 3, 3))
    if why != "has another shape":
        assert net(torch.randn(2, 3, 3))[0].shape == (2, 3, 3)


SERVED: list[tuple[Function, ...]] = [
    (
        lambda a, b: torch.exp(torch.where(a > 0, b, -math.inf)),
        lambda a, b: torch.sigmoid(b.masked_fill(a > 0, -math.inf)) + torch.minimum(b, torch.full_like(b, math.inf)),
        lambda a, b: torch.where(torch.isfinite(a), a, b) + torch.where(b == b, b, math.nan),
        lambda a, b: (a > 0) * b + b * (a < 1).float() - (1 - (b > 0).to(b.dtype)) * a,
    ),
    (
        lambda a, b: torch.where(a > 0, 1.0, 0.1) * b + torch.where(a > b, 2, 0) * a,
        lambda a, b: 0.3 * (a > 0) * b + (b > 0).int() * 2 * a + ((a > 0) + (b > 0)) * a,
        lambda a, b: torch.where((a > 0) == (b > 0), a, b) + torch.where((a > 0) ^ (b > 1), a, b),
        lambda a, b: torch.where(torch.where(a > 0, b > 0, b > 1) | ~((a > 0) & b.bool()), a, b),
    ),
    (
        lambda a, b: functional.silu(a) * b,
        lambda a, b: functional.gelu(a, approximate="tanh") * b,
        lambda a, b: functional.mish(a) + functional.softsign(b),
        lambda a, b: functional.hardswish(a) + functional.celu(b, 0.7),
    ),
    (
        lambda a, b: functional.selu(a) * b,
        lambda a, b: functional.softplus(a, 2.0, 5.0) * functional.elu(b),
        lambda a, b: functional.leaky_relu(a, 0.2) * functional.hardtanh(b),
        lambda a, b: functional.threshold(a, 0.1, 20.0) * functional.relu6(b),
    ),
    (
        lambda a, b: torch.exp(a) / (1 + b * b),
        lambda a, b: torch.log(a * a + 0.1) * torch.sqrt(b * b + 0.1),
        lambda a, b: a.abs() * b.pow(2) + 2 / (3 + a.square()),
        lambda a, b: torch.maximum(a, b) * torch.min(a, 2 * b) + torch.clamp(a, min=b),
    ),
    (
        lambda a, b: torch.addcmul(a, a, b, value=0.5) + torch.addcdiv(a, b, 1 + b * b),
        lambda a, b: torch.lerp(a, b, 0.3) * torch.lerp(a, b, torch.sigmoid(b)),
        lambda a, b: (2 * a + 3 - 1) * b / 2 + torch.sub(a, b, alpha=3),
        lambda a, b: torch.logaddexp(a, b) + torch.where(a > 0, a, torch.tensor(0.1)),
    ),
    (
        lambda a, b: (a * 1).add_(b).mul_(a) + a.new_full(a.shape, 0.5),
        lambda a, b: (a * b).masked_fill_(b > 0, 0.3) + torch.ones(a.shape, dtype=a.dtype),
        lambda a, b: in_place(a * 1, b) * b,
        lambda a, b: a.detach() * b + torch.zeros_like(a),
    ),
]  # fmt: skip


def in_place(values: Tensor, other: Tensor) -> Tensor:
    values[values > other] = 0.7
    return values


@pytest.mark.parametrize("functions", SERVED)
def test_point_wise_arithmetic_is_served(functions: tuple[Function, ...]) -> None:
    """Values and derivatives are the reference's, where masks change too."""
    kind = cell_of(*functions, arity=2)
    assert not isinstance(kernel_of(kind), str), kernel_of(kind)
    for dtype in TOLERANCE:
        values = torch.randn(8, 40, dtype=dtype)
        values[:, :9] = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)] * 2).T.repeat(4, 1)
        (found, slopes), (wanted, wanted_slopes) = (apply(kind, values, name) for name in ("native", "reference"))
        for one, other in zip(found + slopes, wanted + wanted_slopes, strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


FUNCTIONS = [
    (lambda x: x**2, lambda x: torch.where(x > 0.5, x, -3 * x), functional.softplus, lambda x: x**-3),
    (
        lambda x: torch.maximum(x, torch.full_like(x, -0.4)),
        torch.rsqrt,
        lambda x: x**-0.5,
        lambda x: x.clamp(-0.75, 1.5),
    ),
    (lambda x: torch.minimum(x, x * x), functional.elu, lambda x: x**9, lambda x: x.clamp(min=0.25)),
    (torch.expm1, torch.log1p, torch.exp, lambda x: x**2.5),
    (functional.leaky_relu, functional.logsigmoid, functional.hardtanh, lambda x: torch.relu(x) / (1 + x * x)),
]
FAR = [0.0, -1.0, 1.0, 0.3, -0.3, 2.5, -2.5, 15.0, -15.0, 40.0, -40.0, 90.0, -90.0, 1e4, -1e4, math.nan]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("functions", FUNCTIONS)
def test_functions_agree_far_out_and_let_nan_through(functions: Any, dtype: torch.dtype) -> None:
    kind, values = cell_of(*functions), torch.tensor(FAR, dtype=dtype)
    (found, slopes), (wanted, wanted_slopes) = (apply(kind, values, name) for name in ("native", "reference"))
    numbers = [part[:-1] for part in slopes], [part[:-1] for part in wanted_slopes]  # torch's own slopes at NaN differ
    for one, other in zip(found + numbers[0], wanted + numbers[1], strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], equal_nan=True)
    assert all(part[-1].isnan() for part in found)


@pytest.mark.parametrize("isa", ISAS)
def test_functions_are_accurate(isa: str, use_isa: Callable[[str], None]) -> None:
    """In float32 to a few units of the last place, over all that does not underflow; near zero too."""
    use_isa(isa)
    near = torch.logspace(-12, 0, 400)
    wide = torch.cat([torch.linspace(-85, 85, 4001), near, -near])
    positive = torch.cat([torch.logspace(-30, 30, 2001), near])
    found, _ = apply(cell_of(torch.tanh, torch.sigmoid, torch.exp, torch.expm1), wide, "native")
    exact = [function(wide.double()) for function in (torch.tanh, torch.sigmoid, torch.exp, torch.expm1)]
    more, _ = apply(cell_of(torch.log, torch.log1p, torch.sqrt, torch.reciprocal), positive, "native")
    exact += [function(positive.double()) for function in (torch.log, torch.log1p, torch.sqrt, torch.reciprocal)]
    for one, other in zip(found + more, exact, strict=True):
        unit = 2.0 ** (other.abs().clamp(min=1e-37).log2().floor() - 23)
        assert float(((one.double() - other).abs() / unit).max()) < 4


def test_first_used_within_a_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel is first wanted leaves no mark on it, and making it none on the caller."""
    net, inputs = Recurrent(Minimal(3, 4)), torch.randn(5, 4, 2, 3)
    uses: list[Callable[[], Any]] = [
        lambda: torch.vmap(lambda each: net(each)[0])(inputs),
        lambda: torch.func.jacrev(lambda each: net(each)[0])(inputs[0, :1]),
        lambda: torch.inference_mode()(net)(inputs[0]),
        lambda: torch.autocast("cpu", torch.bfloat16)(net)(inputs[0]),
    ]
    for use in uses:
        monkeypatch.setattr(cell_kernels, "_kernels", {})
        before = torch.random.get_rng_state()
        use()
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not isinstance(kernel_of(Minimal), str)


State = namedtuple("State", ["hidden", "value"])


class Odd(GatedCell):
    """Named as what the kernels name is."""

    gates, State, vectors = ("value", "normed"), State, ("value", "lanes")

    @staticmethod
    def update(x: Any, h: Any, state: Any, v: Any, norm: Norm = identity) -> Any:
        value = torch.sigmoid(x.value + v.value) * state.value + torch.tanh(h.normed) + h.value * x.normed
        return State(v.lanes * torch.tanh(norm(value)), value)


Odd.__name__ = "1 odd/name ⊙"


@pytest.mark.parametrize("norm", [False, True])
def test_names_do_not_matter(norm: bool) -> None:
    for dtype in TOLERANCE:
        assert "native" in check_call(random_call(Odd, (5, 3, 4, 7), dtype, norm=norm, zoneout=True))


def test_a_long_product_is_read_once() -> None:
    """Nor along every path, of which there are 2⁴⁰."""

    def logistic(x: Tensor) -> Tensor:
        for _ in range(40):
            x = 0.9 * x * (1 - x)
        return x

    assert len(choose_saved(trace(cell_of(logistic)))) == 1


def test_old_values_are_read_after_the_normalisation() -> None:
    """Where nothing is kept for a gradient, a new value is written over the old one."""

    class Both(GatedCell):
        gates, State = ("a", "b"), State

        @staticmethod
        def update(x: Any, h: Any, state: Any, norm: Norm = identity) -> Any:
            value = torch.sigmoid(x.a + h.a) * state.value + torch.tanh(x.b + h.b) + state.hidden
            return State(torch.tanh(norm(value) + state.value + state.hidden), value)

    assert "native" in check_call(random_call(Both, (5, 3, 4, 7), torch.float64, norm=True, resets=True))


def test_a_state_that_stays_or_is_constant() -> None:
    class Still(GatedCell):
        gates, State = ("a",), State

        @staticmethod
        def update(x: Any, h: Any, state: Any) -> Any:
            return State(torch.tanh(x.a + h.a + state.value), state.value)

    class Constant(Still):
        @staticmethod
        def update(x: Any, h: Any, state: Any) -> Any:
            return State(x.a * state.hidden + h.a, torch.full_like(x.a, 0.5))

    for kind in (Still, Constant):
        assert "native" in check_call(random_call(kind, (4, 2, 3, 5), torch.float64, resets=True))
