"""The recurrent network of a task: its settings, and what they describe."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from ostinato.cells import CELLS
from ostinato.errors import nearest
from ostinato.initialisers import INITIALISERS
from ostinato.networks import Bidirectional, Deep, Recurrent
from ostinato.settings import Settings


class RecurrentSettings(Settings):
    """What a recurrent network is made of."""

    cell: str = Field("lstm", description=f"the equations of a layer: {', '.join(CELLS)}")
    hidden_size: int = Field(256, ge=1, description="units of a layer")
    num_layers: int = Field(2, ge=1, description="layers upon each other")
    dropout: float = Field(0.2, ge=0, lt=1, description="between layers, and before the first and after the last")
    input_dropout: float | None = Field(None, ge=0, lt=1, description="before the first layer [default: dropout]")
    output_dropout: float | None = Field(None, ge=0, lt=1, description="after the last layer [default: dropout]")
    weight_init: str = Field("xavier", description=f"of input weights: {', '.join(INITIALISERS)}")
    recurrent_init: str | None = Field(
        None, description="of recurrent weights, by the same names [default: the cell's own, orthogonal for most]"
    )
    forget_bias: float = Field(1.0, description="initial bias of an LSTM's forget gate")
    layer_norm: bool = Field(False, description="normalise what enters a layer's gates over the units")

    @model_validator(mode="after")
    def _know_kinds(self) -> Self:
        for name, known in (("cell", CELLS), ("weight_init", INITIALISERS), ("recurrent_init", [None, *INITIALISERS])):
            if (found := getattr(self, name)) not in known:
                names = [each for each in known if each]
                raise ValueError(f"{name} = {found!r}: one of {', '.join(names)}{nearest(str(found), names)}")
        return self

    def around(self) -> tuple[float, float]:
        """Dropout before the first layer and after the last."""
        before, after = (self.dropout if rate is None else rate for rate in (self.input_dropout, self.output_dropout))
        return before, after


class WholeSequenceSettings(RecurrentSettings):
    """What a recurrent network is made of that always reads from the first step, and never goes on by single steps."""

    batch_norm: int = Field(
        0, ge=0, description="normalise what enters a layer's gates over the batch, with statistics for so many steps"
    )

    @model_validator(mode="after")
    def _normalise_once(self) -> Self:
        if self.batch_norm and self.layer_norm:
            raise ValueError("batch_norm: is instead of layer_norm; leave one out")
        return self


class RecurrentDropoutSettings(RecurrentSettings):
    """What a recurrent network is made of whose recurrent product is thinned out too, for small data."""

    recurrent_dropout: float = Field(
        0.0, ge=0, lt=1, description="of the hidden state in the recurrent product, the same units at all steps"
    )
    weight_dropout: float = Field(0.0, ge=0, lt=1, description="of recurrent weights, the same at all steps")

    @model_validator(mode="after")
    def _have_what_is_dropped(self) -> Self:
        for name in ("recurrent_dropout", "weight_dropout"):
            if getattr(self, name) and not CELLS[self.cell].recurrent:
                raise ValueError(f"{name}: {self.cell} has no recurrent product; leave it out")
        return self


def recurrent_network(settings: RecurrentSettings, input_size: int, bidirectional: bool = False) -> Deep:
    """The layers that settings describe, untrained; `hidden_size` is that of each direction.

    >>> recurrent_network(RecurrentSettings(cell="gru", hidden_size=5), 3, bidirectional=True).output_size
    10
    """
    s = settings
    kinds = {"weight_init": s.weight_init, "recurrent_init": s.recurrent_init, "forget_bias": s.forget_bias}
    options: dict[str, Any] = {"layer_norm": s.layer_norm}
    if isinstance(s, WholeSequenceSettings):
        options["batch_norm"] = s.batch_norm
    if isinstance(s, RecurrentDropoutSettings):
        options |= {"recurrent_dropout": s.recurrent_dropout, "weight_dropout": s.weight_dropout}
    layers: list[Recurrent | Bidirectional] = []
    for _ in range(s.num_layers):
        cells = [CELLS[s.cell](input_size, s.hidden_size, **kinds) for _ in range(2 if bidirectional else 1)]
        layers.append(Bidirectional(*cells, **options) if bidirectional else Recurrent(cells[0], **options))
        input_size = layers[-1].output_size
    return Deep(layers, s.dropout)
