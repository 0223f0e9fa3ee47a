"""What can be set about a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ostinato.settings import Settings


class TrainingSettings(Settings):
    """How a network is trained. Rates and norms are for the mean loss per token, in nats."""

    epochs: int = Field(10, ge=1, description="passes over the training data")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps, and plan the schedule for them")
    max_minutes: float | None = Field(None, gt=0, description="stop after so long, with the best so far")
    batch_size: int = Field(32, ge=1, description="sequences side by side")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added up before a step")
    optimizer: Literal["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw"] = Field(
        "adamw", description="how to descend"
    )
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = Field(
        0.003, description="peak rate; auto: found by a short sweep"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of the optimizer momentum")
    weight_decay: float = Field(0.0, ge=0, description="decoupled for adamw, else added to the gradient")
    schedule: Literal["constant", "step", "cosine", "plateau"] = Field("cosine", description="of the learning rate")
    warmup_steps: int | None = Field(
        None, ge=0, description="steps of linear rise to the peak [default: 100, or a tenth of all if those are fewer]"
    )
    decay_after: int = Field(4, ge=1, description="step: epochs at the peak before the rate decays each epoch")
    decay_factor: float = Field(0.5, gt=0, lt=1, description="step, plateau: what the rate is multiplied with")
    plateau_evaluations: int = Field(1, ge=1, description="plateau: evaluations without gain before a decay")
    final_rate: float = Field(0.05, ge=0, le=1, description="cosine: rate at the end as a share of the peak")
    clip_norm: float | None = Field(1.0, gt=0, description="scale the gradient down to this norm (none: off)")
    clip_value: float | None = Field(None, gt=0, description="cut each gradient to ± this value")
    average_weights: float | None = Field(
        None, gt=0, lt=1, description="measure and keep the average of the weights, of this decay a step (none: off)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: products in bfloat16 (autocast)")
    patience: int | None = Field(None, ge=1, description="stop after so many evaluations without gain")
    evaluate_every: int | None = Field(None, ge=1, description="steps between evaluations [default: an epoch]")
    checkpoint_every: int = Field(250, ge=1, description="steps between checkpoints")
    log_every: int = Field(20, ge=1, description="steps between lines of history.jsonl")
    gradient_by_lag: bool = Field(
        True, description="note at each evaluation how far back the gradient reaches, on a few sequences"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes a GPU where there is one")
    threads: int | None = Field(None, ge=1, description="of the CPU [default: all]")
    tensorboard: str | None = Field(None, description="folder to write TensorBoard events to (the extra track)")


class TruncationSettings(Settings):
    """How a long stream is cut for truncated back-propagation through time."""

    bptt_steps: int = Field(
        64,
        ge=0,
        description="steps back-propagated through; the state is carried on. 0: full, the whole of each stream",
    )
    carry_state: bool = Field(True, description="carry the state from window to window")
