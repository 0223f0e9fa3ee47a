"""The native loop beyond the contract: as an operator, on every instruction set, for cells of one's own."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato import Bidirectional, Deep, GatedCell, Recurrent, backend
from ostinato.cells import CELLS, GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from ostinato.errors import BackendUnavailable, SettingsError
from ostinato.kernels import cell_kernels, operator, passes
from ostinato.kernels.cell_kernels import kernel_of, native_module
from ostinato.kernels.equations import trace
from ostinato.kernels.expressions import choose_saved
from ostinato.kernels.recurrence import choose, recurrence
from tests.contract import TOLERANCE, check_call, close, derive, leaves, network, random_call, random_state, run
from tests.own_cell import Minimal

pytestmark = pytest.mark.skipif(native_module() is None, reason="the native module was not built")
ISAS: list[str] = native_module().instruction_sets() if native_module() else []
OPTIONS = ["ragged", "resets", "zoneout"]


def operator_arguments(call: Any) -> list[Any]:
    w = call.weights
    vectors = torch.stack(w.vectors).detach().requires_grad_() if w.vectors else None
    weights = [*w[:4], vectors, *w[6:9]]
    rest = [call.lengths, call.resets, list(call.zoneout or ()), call.reverse, False, call.low_memory]
    return [operator._name(call.cell), call.inputs, list(call.state), *weights, *rest]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LSTMCell, []),
        (GRUCell, ["resets", "reverse", "zoneout"]),
        (CELLS["indrnn"], ["low_memory", "ragged"]),
        (PeepholeLSTMCell, ["every", "zoneout"]),
        (LSTMCell, ["norm"]),
    ],
    ids=str,
)
def test_operators_are_what_they_say(kind: type[GatedCell], options: list[str]) -> None:
    """Schema, shapes without data, derivatives, and a trace with sizes that are not known: torch's own checks."""
    # 8 units fill every vector: what is kept of the rest of one, or of a row that has ended, is never written nor read
    call = random_call(kind, (5, 3, 2, 8), torch.float64, **dict.fromkeys(options, True))
    if call.lengths is not None:  # a gradient of NaN would not equal itself
        call = call._replace(inputs=call.inputs.detach().nan_to_num().requires_grad_())
    arguments = operator_arguments(call)
    for keep in (True, False):
        if not keep:
            arguments = [part.detach() if isinstance(part, Tensor) else part for part in arguments]
            arguments[2] = [part.detach() for part in arguments[2]]
        found = torch.library.opcheck(torch.ops.ostinato.recurrence.default, (*arguments, keep, call.every))
        assert len(found) == 4
        assert set(found.values()) == {"SUCCESS"}
    out = torch.ops.ostinato.recurrence(*arguments, True, call.every)
    kept = len(out) - 1 - len(call.state)
    d_outputs = [torch.randn_like(part) for part in (out[0], out[kept])]
    rest = (True, out[:kept], out[-1], [0, len(call.state)], d_outputs)
    found = torch.library.opcheck(torch.ops.ostinato.recurrence_backward.default, (*arguments, *rest))
    assert set(found.values()) == {"SUCCESS"}


NETWORKS: dict[str, Callable[[], Any]] = {
    "low memory": lambda: Recurrent(LSTMCell(3, 5), memory="low"),
    "deep": lambda: Deep([Recurrent(GRUCell(3, 5)), Recurrent(Minimal(5, 4), reverse=True)]),
    "bidirectional": lambda: Bidirectional(PeepholeLSTMCell(3, 5), PeepholeLSTMCell(3, 5)),
}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_networks_agree(name: str, ragged: bool) -> None:
    """One graph, made of cells that nothing has run before."""
    net = NETWORKS[name]().double()
    inputs, lengths = torch.randn(6, 3, 3, dtype=torch.float64), torch.tensor([6, 2, 4]) if ragged else None
    state = random_state(net, 3, torch.float64)
    torch.compiler.reset()
    several = torch._functorch.config.patch(donated_buffer=False)  # derivatives of one graph
    with backend("native"), pytest.MonkeyPatch.context() as patch, several:
        patch.setattr(cell_kernels, "_kernels", {})
        patch.setattr(operator, "_CELLS", {})
        compiled: Any = torch.compile(net, fullgraph=True, backend="aot_eager")
        for steps in (6, 5):
            part = None if lengths is None else lengths.clamp(max=steps)
            found = run(compiled, inputs[:steps], state, part)
            for one, other in zip(found, run(net, inputs[:steps], state, part), strict=True):
                close(one, other, torch.float64)


@contextmanager
def threads_of(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads for the smallest work."""
    monkeypatch.setattr(passes, "_WORK_OF_A_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_and_number_of_threads(
    isa: str, threads: int, use_isa: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows, of which threads share the units, and many, of which each has its own."""
    use_isa(isa)
    with threads_of(threads, monkeypatch):
        for kind in (LSTMCell, GRUCell, RNNCell, Minimal):
            kernel: Any = kernel_of(kind)
            assert kernel.isa == isa
            for dtype in TOLERANCE:
                for shape in [(4, 3, 4, 50), (3, 13, 3, 21)]:
                    for options in (dict.fromkeys(OPTIONS, True), {"reverse": True}):
                        assert "native" in check_call(random_call(kind, shape, dtype, **options))


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell])
def test_threads_do_not_divide_rows_that_are_normalised(kind: type[GatedCell], monkeypatch: pytest.MonkeyPatch) -> None:
    with threads_of(3, monkeypatch):
        for shape in [(4, 3, 4, 50), (3, 13, 3, 21)]:
            assert "native" in check_call(random_call(kind, shape, torch.float64, norm=True, ragged=True))


def test_unknown_instruction_set_is_named(use_isa: Callable[[str], None]) -> None:
    use_isa("plane")
    with pytest.raises(SettingsError, match=r"OSTINATO_ISA = 'plane': this machine runs .*plain \(did you mean plain"):
        Recurrent(LSTMCell(2, 3))(torch.zeros(2, 1, 2))


def test_built_in_kernels_are_fresh() -> None:
    tool = runpy.run_path(str(Path(__file__).parents[1] / "tools/emit_cells.py"))
    assert tool["TARGET"].read_text() == tool["generate"]()


def test_what_the_backward_pass_keeps() -> None:
    """Of an LSTM the four gates, and not tanh(c'), which c' gives; of an RNN nothing, since h' gives all."""
    kept = choose_saved(trace(LSTMCell))
    assert {(node.op, *sorted(arg.op for arg in node.args[0].args)) for node in kept} == {
        ("sigmoid", "h_i", "x_i"), ("sigmoid", "h_f", "x_f"), ("tanh", "h_g", "x_g"), ("sigmoid", "h_o", "x_o"),
    }  # fmt: skip
    assert len(kept) == 4
    assert choose_saved(trace(RNNCell)) == []


@pytest.mark.skipif("avx512_bf16" not in ISAS[:1], reason="this CPU does not multiply bfloat16")
@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, RNNCell, Minimal])
def test_bfloat16_agrees_to_its_rounding(kind: type[GatedCell]) -> None:
    net = network(kind, [7, 19, 19], True, torch.float32)
    inputs, lengths = torch.randn(11, 5, 7), torch.tensor([11, 3, 7, 10, 0])
    state = random_state(net, 5, torch.float32)

    def results(inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        inputs = inputs.clone().requires_grad_()
        outputs, final = net(inputs, state, lengths)
        parts = [part for layer in final for direction in layer for part in direction]
        assert {part.dtype for part in parts} == {torch.float32}
        everything = [outputs.float(), *parts]
        return everything, derive(everything, [inputs, *net.parameters()])

    with backend("reference"):
        wanted = results(inputs)
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        found = results(inputs)
        assert net(inputs, state, lengths)[0].dtype == torch.bfloat16
    for one, other in zip([*found[0], *found[1]], [*wanted[0], *wanted[1]], strict=True):
        assert float((one - other).detach().abs().max()) < 2e-2 * float(other.detach().abs().max())
    with torch.no_grad():
        with backend("native"):
            outputs, final = net.bfloat16()(inputs.bfloat16(), None, lengths)
        with backend("reference"):
            plain = net.float()(inputs, None, lengths)[0]
    assert {outputs.dtype, final[0][0][0].dtype} == {torch.bfloat16}
    assert float((outputs.float() - plain).abs().max()) < 2e-2 * float(plain.abs().max())


LONG_CALL = """import signal, sys, torch
from ostinato import LSTMCell, Recurrent, backend
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background would ignore
torch.set_num_threads(int(sys.argv[1]))
net, inputs = Recurrent(LSTMCell(1, 1024)), torch.zeros(60_000, int(sys.argv[2]), 1)
with torch.no_grad(), backend("native"):
    net(inputs[:2])
    print("begun", flush=True)
    try:
        net(inputs)
        print("not interrupted", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(tuple(net(inputs[:2])[0].shape), flush=True)
"""


@pytest.mark.parametrize(("threads", "rows"), [(1, 1), (2, 1)])
def test_a_long_call_can_be_interrupted(threads: int, rows: int) -> None:
    command = [sys.executable, "-c", LONG_CALL, str(threads), str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(1)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert time.monotonic() - sent < 2
            assert process.stdout.readline() == f"(2, {rows}, 1024)\n"
        finally:
            process.kill()


def test_zoneout_that_is_differentiated_by_is_the_references() -> None:
    """h' = new + m ⊙ (old − new), and the gradient by m is old − new."""
    call = random_call(GRUCell, (1, 2, 3, 5), torch.float64, zoneout=True)
    with backend("native"):
        assert choose(call) == "native"
    assert call.zoneout is not None
    (stay,) = (None if part is None else part.requires_grad_() for part in call.zoneout)
    assert stay is not None
    with backend("native"), pytest.raises(BackendUnavailable, match="no gradient by how much zoneout keeps"):
        recurrence(call)
    assert choose(call) == "reference"
    (found,) = torch.autograd.grad(recurrence(call).outputs.sum(), stay)
    with torch.no_grad():
        wanted = call.state.hidden - recurrence(call._replace(zoneout=None)).outputs
    torch.testing.assert_close(found, wanted)


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_kernels, "native_module", lambda: None)
    monkeypatch.setattr(cell_kernels, "_kernels", {})
    for kind in (LSTMCell, Minimal):
        call = random_call(kind, (4, 3, 2, 5), torch.float64)
        assert choose(call) == ("aten" if kind is LSTMCell else "reference")
        assert choose(call._replace(lengths=torch.tensor([4, 2, 1]))) == "reference"
        assert "native" not in check_call(call)
        with backend("native"), pytest.raises(BackendUnavailable, match="no C\\+\\+ compiler when ostinato was inst"):
            choose(call)


@pytest.mark.parametrize("options", [[], ["ragged", "reverse"], ["ragged", "resets", "zoneout", "every"]], ids=str)
@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, Minimal])
def test_low_memory_is_the_same_to_the_bit(kind: type[GatedCell], options: list[str]) -> None:
    """Pieces of time of odd lengths, run anew in the backward pass."""
    call = random_call(kind, (401, 3, 2, 9), torch.float32, **dict.fromkeys(options, True))
    assert passes.segment_steps(401, 3) < 200
    found = []
    for low in (True, False):
        result = operator.run(call._replace(low_memory=low))
        parts = [result.outputs, *result.state, *(result.states or ())]
        found.append((parts, derive(parts, leaves(call))))
    assert all(torch.equal(a, b) for a, b in zip(found[0][0], found[1][0], strict=True))
    close(found[0][1], found[1][1], torch.float32)
