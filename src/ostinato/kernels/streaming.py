"""One step at a time on the native loop: weights packed once, and a state that is written where it is told."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels import operator, passes
from ostinato.kernels.aten import in_transform
from ostinato.kernels.call import LayerCall
from ostinato.kernels.cell_kernels import Kernel, kernel_of, native_module

_WORK_OF_A_TEAM = 1 << 21  # multiplications of a step, below which waking other threads takes longer than they save


class Stream:
    """A layer's steps for one batch size, as long as its weights stay what they are."""

    def __init__(self, call: LayerCall, parameters: list[Tensor]) -> None:
        kernel, w = kernel_of(call.cell), call.weights
        if not isinstance(kernel, Kernel):
            raise TypeError(f"a stream needs a kernel: {kernel}")
        self.tensors, self.marks = parameters, [mark(part) for part in parameters]
        batch, size = call.inputs.shape[1:]
        self.inputs_shape, self.state_shape = torch.Size((batch, size)), call.state[0].shape
        self.dtype = call.inputs.dtype
        vectors = torch.stack(w.vectors).detach() if w.vectors else None
        weights: Any = [None if part is None else part.detach().contiguous() for part in w[:4]]
        problem = passes.Problem(
            kernel=kernel,
            inputs=call.inputs.detach(),
            state=list(call.state),
            weight_ih=weights[0],
            weight_hh=weights[1],
            bias_ih=weights[2],
            bias_hh=weights[3],
            vectors=vectors,
            norm_ih=None,
            norm_hh=None,
            norm_state=None,
            lengths=None,
            resets=None,
            zoneout=[],
            reverse=False,
            bf16=False,
            low_memory=False,
        )
        self._kept = problem  # the first step reads the weights
        layer = passes.layer_of(passes.with_contiguous(problem), [], None)
        rows, hidden = self.state_shape
        work = rows * hidden * hidden * kernel.gates
        threads = passes.threads_for(problem) if work >= _WORK_OF_A_TEAM else 1
        self.session: Any = native_module().Session(
            layer, kernel.address, kernel.isa, self.dtype == torch.float64, threads
        )

    def holds(self, tensors: list[Tensor], inputs: Tensor) -> bool:
        """Whether these are the weights that were packed, unchanged, and the inputs of this size and type."""
        if inputs.shape != self.inputs_shape or inputs.dtype != self.dtype or not inputs.is_cpu:
            return False
        return len(tensors) == len(self.tensors) and all(
            now is then and mark(now) == before
            for now, then, before in zip(tensors, self.tensors, self.marks, strict=True)
        )

    def step(self, inputs: Tensor, state: Any, out: Any) -> Any:
        """The state after the step, in `out` if given."""
        if not inputs.is_contiguous():
            inputs = inputs.contiguous()
        before = [self._address("state", part) for part in state]
        if out is state:
            after = before
        else:
            out = type(state)(*(torch.empty_like(part) for part in state)) if out is None else out
            after = [self._address("out", part) for part in out]
            if len(after) != len(before):
                raise ValueError(f"out: expected {len(before)} parts, found {len(after)}")
        self.session.step(inputs.data_ptr(), before, after)
        return out

    def _address(self, name: str, part: Tensor) -> int:
        if part.shape != self.state_shape or part.dtype != self.dtype or not part.is_cpu or not part.is_contiguous():
            wanted = f"contiguous {str(self.dtype)[6:]} {list(self.state_shape)} on the CPU"
            found = f"{str(part.dtype)[6:]} {list(part.shape)} on {part.device}"
            raise ValueError(f"{name}: expected {wanted}, found {found}")
        return part.data_ptr()


def mark(weight: Tensor) -> tuple[int, int]:
    """What changes when a weight does."""
    return weight._version, weight.data_ptr()


def possible() -> bool:
    """Whether a step is now nothing but numbers: no autocast, no transform, no compilation."""
    return not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or in_transform())


def serves(call: LayerCall) -> bool:
    """Whether a stream can run this call's steps."""
    weights = (*call.weights[:4], *call.weights.vectors)
    if any(part is not None and part.is_inference() for part in weights):  # whose changes leave no mark
        return False
    return operator.serves(call) is None and call.inputs.dtype in (torch.float32, torch.float64)
