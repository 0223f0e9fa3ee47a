"""Ours and the peers: each takes a job and its numbers, and gives what runs it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ostinato.benchmarking.jobs import STEPS, Job, Numbers
from ostinato.benchmarking.timing import Side
from ostinato.cells import CELLS
from ostinato.kernels.call import LayerCall
from ostinato.kernels.recurrence import choose
from ostinato.networks import Bidirectional, Recurrent

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def fill(parameters: Sequence[nn.Parameter], values: Sequence[np.ndarray]) -> None:
    """Copy values into parameters."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(torch.from_numpy(value))


def torch_side(
    forward: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    numbers: Numbers,
    training: bool,
    bf16: bool = False,
) -> Side:
    """A layer of torch tensors: outputs, and in training the gradients of the inputs and of the parameters."""
    inputs, gradient = torch.from_numpy(numbers.inputs), torch.from_numpy(numbers.gradient)

    def under_autocast(inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(inputs)

    call = under_autocast if bf16 else forward
    with torch.no_grad():
        gradient = gradient.to(call(inputs).dtype)
    wanted = [inputs.clone().requires_grad_(), *parameters]

    def train() -> tuple[Tensor, ...]:
        outputs = call(wanted[0])
        return (outputs, *torch.autograd.grad(outputs, wanted, gradient))

    def infer() -> tuple[Tensor]:
        return (call(inputs),)

    return Side(train if training else infer, lambda result: [part.detach().float().numpy() for part in result])


class Ours(NamedTuple):
    """Our layer for a job."""

    layer: Recurrent | Bidirectional
    parameters: list[nn.Parameter]
    lengths: Tensor | None


def our_layer(job: Job, numbers: Numbers) -> Ours:
    """Our layer with the job's weights; its parameters in the order in which a job has them."""
    hidden = job.shape.hidden_size
    cells = [CELLS[job.cell](hidden, hidden) for _ in numbers.weights]
    parameters = [getattr(cell, name) for cell in cells for name in _NAMES]
    fill(parameters, [value for direction in numbers.weights for value in direction])
    layer = Bidirectional(*cells) if job.bidirectional else Recurrent(cells[0])
    return Ours(layer, parameters, None if numbers.lengths is None else torch.from_numpy(numbers.lengths))


def ours(job: Job, numbers: Numbers, training: bool) -> Side:
    """`ostinato.networks`."""
    layer, parameters, lengths = our_layer(job, numbers)
    layer.train(training)
    return torch_side(
        lambda inputs: layer(inputs, lengths=lengths)[0], parameters, numbers, training, job.dtype == "bf16"
    )


def backend_of(job: Job, numbers: Numbers, training: bool) -> str:
    """Which backend serves ours."""
    layer, _, lengths = our_layer(job, numbers)
    part = layer.forward_layer if isinstance(layer, Bidirectional) else layer
    inputs = torch.from_numpy(numbers.inputs).requires_grad_(training)
    state = part.initial_state(job.shape.batch_size)
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16, enabled=job.dtype == "bf16"):
        return choose(LayerCall(type(part.cell), part.cell.weights(), inputs, state, lengths))


def torch_nn(job: Job, numbers: Numbers, training: bool) -> Side:
    """`torch.nn.RNN`, `GRU`, `LSTM`; a ragged batch is packed before and padded after, as the user has it padded."""
    hidden = job.shape.hidden_size
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[job.cell]
    module = kind(hidden, hidden, bidirectional=job.bidirectional).train(training)
    suffixes = ["_l0", "_l0_reverse"][: len(numbers.weights)]
    parameters = [getattr(module, name + suffix) for suffix in suffixes for name in _NAMES]
    fill(parameters, [value for direction in numbers.weights for value in direction])
    if numbers.lengths is None:
        return torch_side(lambda inputs: module(inputs)[0], parameters, numbers, training, job.dtype == "bf16")
    lengths = torch.from_numpy(numbers.lengths)

    def packed(inputs: Tensor) -> Tensor:
        outputs, _ = module(pack_padded_sequence(inputs, lengths, enforce_sorted=False))
        return pad_packed_sequence(outputs, total_length=STEPS)[0]

    return torch_side(packed, parameters, numbers, training, job.dtype == "bf16")


def jax_scan(job: Job, numbers: Numbers, training: bool) -> Side:
    """`jax.lax.scan` under `jax.jit`, the product with the inputs before it; a ragged batch has a mask."""
    import jax
    from jax import numpy as jnp

    layer = _jax_layer(job.cell)
    live = None
    if numbers.lengths is not None:
        live = jnp.arange(STEPS)[:, None, None] < jnp.asarray(numbers.lengths)[None, :, None]

    def forward(weights: Any, inputs: Any) -> Any:
        return jnp.concatenate([layer(part, inputs, live, bool(i)) for i, part in enumerate(weights)], axis=-1)

    def train(weights: Any, inputs: Any, gradient: Any) -> Any:
        outputs, backward = jax.vjp(forward, weights, inputs)
        return outputs, backward(gradient)

    weights = [[jnp.asarray(value.T) for value in direction] for direction in numbers.weights]
    inputs, gradient = jnp.asarray(numbers.inputs), jnp.asarray(numbers.gradient)

    def read(result: Any) -> list[np.ndarray]:
        if not training:
            return [np.asarray(result)]
        outputs, (weight_gradients, input_gradient) = result
        of_weights = [np.asarray(value).T for direction in weight_gradients for value in direction]
        return [np.asarray(outputs), np.asarray(input_gradient), *of_weights]

    if training:
        train_compiled = jax.jit(train)
        return Side(lambda: jax.block_until_ready(train_compiled(weights, inputs, gradient)), read)
    infer_compiled = jax.jit(forward)
    return Side(lambda: jax.block_until_ready(infer_compiled(weights, inputs)), read)


def _jax_layer(cell: str) -> Callable[[Any, Any, Any, bool], Any]:
    """(weights, transposed; inputs; which steps count, or None; whether backwards) → outputs."""
    import jax
    from jax import numpy as jnp

    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    def rnn(x: Any, h: Any, state: Any) -> Any:  # noqa: ARG001
        return (tanh(x + h),)

    def gru(x: Any, h: Any, state: Any) -> Any:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(x, 3, -1), jnp.split(h, 3, -1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * h_n)
        return ((1 - z) * n + z * state[0],)

    def lstm(x: Any, h: Any, state: Any) -> Any:
        i, f, g, o = jnp.split(x + h, 4, -1)
        c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
        return (sigmoid(o) * tanh(c), c)

    update, parts = {"rnn": (rnn, 1), "gru": (gru, 1), "lstm": (lstm, 2)}[cell]

    def layer(weights: Any, inputs: Any, live: Any, reverse: bool) -> Any:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        apart = cell == "gru"  # its reset gate applies to b_hn; elsewhere both biases go into the hoisted product
        projected = inputs @ weight_ih + (bias_ih if apart else bias_ih + bias_hh)

        def step(state: Any, now: Any) -> Any:
            x, counts = now
            h = state[0] @ weight_hh
            new = update(x, h + bias_hh if apart else h, state)
            if counts is None:
                return new, new[0]
            new = tuple(jnp.where(counts, after, before) for after, before in zip(new, state, strict=True))
            return new, jnp.where(counts, new[0], 0)

        zeros = jnp.zeros((inputs.shape[1], weight_hh.shape[0]), inputs.dtype)
        return jax.lax.scan(step, (zeros,) * parts, (projected, live), reverse=reverse)[1]

    return layer


def onnx_runtime(job: Job, numbers: Numbers, training: bool) -> Side:
    """ONNX Runtime's RNN, GRU and LSTM, by IO binding; it has no training."""
    import onnxruntime

    assert not training  # noqa: S101 - see PEERS
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_onnx_model(job, numbers), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("inputs", numbers.inputs)
    if numbers.lengths is not None:
        binding.bind_cpu_input("lengths", numbers.lengths.astype(np.int32))
    binding.bind_output("outputs", "cpu")

    def run() -> Any:
        session.run_with_iobinding(binding)
        return binding

    def read(result: Any) -> list[np.ndarray]:
        outputs = result.copy_outputs_to_cpu()[0]  # [time, direction, batch, hidden]
        return [np.concatenate(list(outputs.transpose(1, 0, 2, 3)), axis=-1)]

    return Side(run, read)


def _onnx_model(job: Job, numbers: Numbers) -> bytes:
    """One node, its gates in ONNX's order."""
    from onnx import TensorProto, helper, numpy_helper

    order = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[job.cell]  # ONNX: z r h, and i o f c
    batch, hidden = job.shape.batch_size, job.shape.hidden_size

    def permuted(value: np.ndarray) -> np.ndarray:
        return value.reshape(len(order), hidden, -1)[order].reshape(value.shape)

    by_kind = [[permuted(direction[kind]) for direction in numbers.weights] for kind in range(4)]
    w, r, b_ih, b_hh = (np.stack(kind) for kind in by_kind)
    constants = {"W": w, "R": r, "B": np.concatenate([b_ih, b_hh], axis=1)}
    ragged = numbers.lengths is not None
    attributes: dict[str, Any] = {"linear_before_reset": 1} if job.cell == "gru" else {}
    attributes["direction"] = "bidirectional" if job.bidirectional else "forward"
    node = helper.make_node(
        job.cell.upper(), ["inputs", *constants, *(["lengths"] if ragged else [])], ["outputs"],
        hidden_size=hidden, **attributes,
    )  # fmt: skip
    given = [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [STEPS, batch, hidden])]
    if ragged:
        given.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]))
    shape = [STEPS, len(numbers.weights), batch, hidden]
    outputs = [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, shape)]
    stored = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([node], "layer", given, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class Peer(NamedTuple):
    """One of those that ours is compared with."""

    make: Callable[[Job, Numbers, bool], Side]
    packages: tuple[str, ...]
    """What has to be installed."""
    trains: bool = True
    dtypes: tuple[str, ...] = ("float32",)


PEERS = {
    "torch": Peer(torch_nn, ("torch",), dtypes=("float32", "bf16")),
    "jax": Peer(jax_scan, ("jax",)),
    "onnxruntime": Peer(onnx_runtime, ("onnx", "onnxruntime"), trains=False),
}


def missing() -> dict[str, list[str]]:
    """The peers that cannot run here, with the packages that they lack."""
    lacks = {name: [each for each in peer.packages if find_spec(each) is None] for name, peer in PEERS.items()}
    return {name: packages for name, packages in lacks.items() if packages}
