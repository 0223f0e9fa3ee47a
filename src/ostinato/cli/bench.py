"""`ostinato bench WHAT`: figures, with the peer beside us."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup

GROUP = LazyGroup(
    "bench",
    {"layers": ("ostinato.cli.bench_layers", "One recurrent layer beside PyTorch, JAX and ONNX Runtime.")},
    help=COMMANDS["bench"][1],
)
