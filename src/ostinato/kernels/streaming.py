"""One step at a time on the native loop: a layer's weights packed once, and a state that is written where it is told."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels import operator, passes
from ostinato.kernels.call import LayerCall
from ostinato.kernels.cell_kernels import Kernel, kernel_of, native_module


class Stream:
    """A layer's steps for one batch size, as long as its weights stay what they are."""

    def __init__(self, call: LayerCall, parameters: list[Tensor]) -> None:
        kernel, w = kernel_of(call.cell), call.weights
        if not isinstance(kernel, Kernel):
            raise TypeError(f"a stream needs a kernel: {kernel}")
        self.tensors, self.versions = parameters, [part._version for part in parameters]
        batch, size = call.inputs.shape[1:]
        self.inputs_shape, self.state_shape = torch.Size((batch, size)), call.state[0].shape
        self.dtype, self.parts = call.inputs.dtype, len(call.state)
        vectors = torch.stack(w.vectors).detach() if w.vectors else None
        weights = [None if part is None else part.detach().contiguous() for part in w[:4]]
        weight_ih: Any = weights[0]
        problem = passes.Problem(
            kernel, call.inputs.detach(), list(call.state), weight_ih, *weights[1:], vectors, None, None, [],
            False, False, False,
        )  # fmt: skip
        self._kept = problem  # the first step reads the weights
        layer = passes.layer_of(passes.with_contiguous(problem), [], None)
        threads = passes.threads_for(problem)
        self.session: Any = native_module().Session(
            layer, kernel.address, kernel.isa, self.dtype == torch.float64, threads
        )

    def holds(self, tensors: list[Tensor], inputs: Tensor) -> bool:
        """Whether these are the weights that were packed, unchanged, and the inputs of this size and type."""
        if inputs.shape != self.inputs_shape or inputs.dtype != self.dtype or len(tensors) != len(self.tensors):
            return False
        return all(
            now is then and now._version == version
            for now, then, version in zip(tensors, self.tensors, self.versions, strict=True)
        )

    def step(self, inputs: Tensor, state: Any, out: Any) -> Any:
        """The state after the step, in `out` if given."""
        if not inputs.is_contiguous():
            inputs = inputs.contiguous()
        before = []
        for part in state:
            if part.shape != self.state_shape or part.dtype != self.dtype or not part.is_contiguous():
                found = f"{str(part.dtype)[6:]} {list(part.shape)}"
                raise ValueError(f"state: expected {str(self.dtype)[6:]} {list(self.state_shape)}, found {found}")
            before.append(part.data_ptr())
        if out is state:
            after = before
        else:
            out = type(state)(*(torch.empty_like(part) for part in state)) if out is None else out
            after = [part.data_ptr() for part in out]
        self.session.step(inputs.data_ptr(), before, after)
        return out


def serves(call: LayerCall) -> bool:
    """Whether a stream can run this call's steps."""
    return operator.serves(call) is None and not torch.is_autocast_enabled("cpu") and call.inputs.dtype in (
        torch.float32,
        torch.float64,
    )
