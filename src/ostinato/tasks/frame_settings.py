"""The settings of a frame predictor: how clips are read, what the network is, how frames are told."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ostinato.cells import CELLS
from ostinato.codecs.clips import ClipSettings
from ostinato.conv_cells import CONV_CELLS, ConvRecurrent
from ostinato.errors import nearest
from ostinato.initialisers import INITIALISERS
from ostinato.networks import Deep, Recurrent
from ostinato.settings import Settings
from ostinato.training.settings import TrainingSettings

_ALL_CELLS = (*CONV_CELLS, *CELLS)


class FrameNetworkSettings(Settings):
    """What the network of a frame predictor is made of."""

    cell: str = Field(
        "conv-lstm",
        description=f"the equations of a layer; without conv- a frame is one vector: {', '.join(_ALL_CELLS)}",
    )
    hidden_size: int | None = Field(
        None, ge=1, description="features of a pixel of a conv- layer, or units [default: 32, or 512 units]"
    )
    num_layers: int = Field(2, ge=1, description="layers upon each other, of the encoder and of the decoder")
    kernel_size: int | None = Field(None, ge=1, description="of convolutions, odd [default: 3]")
    patch_size: int | None = Field(
        None, ge=1, description="side of the squares of pixels that are features of one place [default: 4, 2 or 1]"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="between layers")
    weight_init: str = Field("xavier", description=f"of input weights: {', '.join(INITIALISERS)}")
    recurrent_init: str | None = Field(
        None, description="of recurrent weights, by the same names [default: the cell's own, orthogonal for most]"
    )
    forget_bias: float = Field(1.0, description="initial bias of an LSTM's forget gate")
    memory: Literal["fast", "low"] = Field("fast", description="low: keep few states, make the others again")

    @model_validator(mode="after")
    def _know_kinds(self) -> Self:
        known: Any
        for name, known in (("cell", _ALL_CELLS), ("weight_init", INITIALISERS), ("recurrent_init", INITIALISERS)):
            found = getattr(self, name)
            if found not in known and not (name == "recurrent_init" and found is None):
                raise ValueError(f"{name} = {found!r}: one of {', '.join(known)}{nearest(str(found), known)}")
        for name in ("kernel_size", "patch_size"):
            if getattr(self, name) is not None and not self.convolves:
                raise ValueError(
                    f"{name}: a {self.cell} reads a frame as one vector; leave it out, or take a conv- cell"
                )
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {self.kernel_size}: must be odd, so that a kernel has a centre")
        return self

    @property
    def convolves(self) -> bool:
        """Whether the layers keep the image's places."""
        return self.cell in CONV_CELLS

    @property
    def width(self) -> int:
        """Features of a layer."""
        return self.hidden_size or (32 if self.convolves else 512)


class FramePredictorSettings(ClipSettings, FrameNetworkSettings, TrainingSettings):
    """All that can be set about a frame predictor."""

    loss: Literal["cross-entropy", "mse"] = Field("cross-entropy", description="of a pixel's brightness, from 0 to 1")
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="clips kept for validation, drawn at random; of a single one, its end"
    )
    batch_size: int = Field(16, ge=1, description="windows side by side")
    epochs: int = Field(20, ge=1, description="passes over the training data")


class FramePredictSettings(Settings):
    """What can be set about telling the next frames of clips."""

    frames: int | None = Field(None, ge=1, description="how many to tell [default: target_frames of the training]")
    hold_out: bool = Field(
        False, description="tell the last frames of a clip from those before, and put the true ones beside them"
    )
    with_input: bool = Field(False, description="write the frames that were seen before those that are told")
    scale: int = Field(1, ge=1, le=64, description="of images: each pixel as a square of so many")
    axes: str | None = Field(None, description="of arrays, see fit [default: as in training]")


def frame_layers(settings: FrameNetworkSettings, input_size: int, image: tuple[int, int]) -> Deep:
    """The layers that settings describe, untrained, over images of (height, width) places.

    >>> frame_layers(FrameNetworkSettings(cell="conv-gru", hidden_size=5), 16, (8, 8)).output_size
    5
    """
    s = settings
    kinds: dict[str, Any] = {"weight_init": s.weight_init, "recurrent_init": s.recurrent_init}
    kinds["forget_bias"] = s.forget_bias
    layers: list[Recurrent | ConvRecurrent] = []
    for _ in range(s.num_layers):
        if s.convolves:
            cell = CONV_CELLS[s.cell](input_size, s.width, s.kernel_size or 3, image, **kinds)
            layers.append(ConvRecurrent(cell, s.memory))
        else:
            layers.append(Recurrent(CELLS[s.cell](input_size, s.width, **kinds), memory=s.memory))
        input_size = s.width
    return Deep(layers, s.dropout)
