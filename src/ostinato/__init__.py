"""Ostinato: recurrent sequence models, from raw sequences to a network that is trained, understood and deployed.

>>> import ostinato
>>> model = ostinato.LanguageModel(cell="gru", hidden_size=64)
>>> ostinato.LanguageModel(hiden_size=64)
Traceback (most recent call last):
ostinato.errors.SettingsError: unknown setting 'hiden_size' (did you mean hidden_size?)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato import features as features
    from ostinato.analysis import Analyzer as Analyzer
    from ostinato.attention import AdditiveAttention as AdditiveAttention
    from ostinato.attention import MultiplicativeAttention as MultiplicativeAttention
    from ostinato.cells import GatedCell as GatedCell
    from ostinato.cells import GRUCell as GRUCell
    from ostinato.cells import HiddenState as HiddenState
    from ostinato.cells import IndRNNCell as IndRNNCell
    from ostinato.cells import IRNNCell as IRNNCell
    from ostinato.cells import LSTMCell as LSTMCell
    from ostinato.cells import LSTMState as LSTMState
    from ostinato.cells import MGUCell as MGUCell
    from ostinato.cells import PeepholeLSTMCell as PeepholeLSTMCell
    from ostinato.cells import ReLURNNCell as ReLURNNCell
    from ostinato.cells import ResetFirstGRUCell as ResetFirstGRUCell
    from ostinato.cells import RNNCell as RNNCell
    from ostinato.cells import SigmoidRNNCell as SigmoidRNNCell
    from ostinato.cells import SLSTMCell as SLSTMCell
    from ostinato.cells import SLSTMState as SLSTMState
    from ostinato.conv_cells import ConvCell as ConvCell
    from ostinato.conv_cells import ConvGRUCell as ConvGRUCell
    from ostinato.conv_cells import ConvLSTMCell as ConvLSTMCell
    from ostinato.conv_cells import ConvPeepholeLSTMCell as ConvPeepholeLSTMCell
    from ostinato.conv_cells import ConvRecurrent as ConvRecurrent
    from ostinato.diagnostics.diagnosis import Diagnosis as Diagnosis
    from ostinato.diagnostics.diagnosis import diagnose as diagnose
    from ostinato.encoder_decoder import EncoderDecoder as EncoderDecoder
    from ostinato.errors import OstinatoError as OstinatoError
    from ostinato.kernels.recurrence import backend as backend
    from ostinato.layers import GRU as GRU
    from ostinato.layers import LSTM as LSTM
    from ostinato.layers import RNN as RNN
    from ostinato.linear_cells import LinearCell as LinearCell
    from ostinato.linear_cells import MinGRUCell as MinGRUCell
    from ostinato.linear_cells import MinLSTMCell as MinLSTMCell
    from ostinato.linear_cells import RGLRUCell as RGLRUCell
    from ostinato.networks import Bidirectional as Bidirectional
    from ostinato.networks import Deep as Deep
    from ostinato.networks import Recurrent as Recurrent
    from ostinato.report.writing import write_report as write_report
    from ostinato.tasks import load as load
    from ostinato.tasks.acceptability import Acceptability as Acceptability
    from ostinato.tasks.acceptability_score import AcceptabilityScore as AcceptabilityScore
    from ostinato.tasks.captioner import Captioner as Captioner
    from ostinato.tasks.classifier import Classifier as Classifier
    from ostinato.tasks.conditional_language_model import ConditionalLanguageModel as ConditionalLanguageModel
    from ostinato.tasks.forecaster import Forecaster as Forecaster
    from ostinato.tasks.frame_predictor import FramePredictor as FramePredictor
    from ostinato.tasks.language_model import LanguageModel as LanguageModel
    from ostinato.tasks.linear_classifier import LinearClassifier as LinearClassifier
    from ostinato.tasks.music import MusicModel as MusicModel
    from ostinato.tasks.ngram import NGramLanguageModel as NGramLanguageModel
    from ostinato.tasks.playlist import Playlist as Playlist
    from ostinato.tasks.recommender import Recommender as Recommender
    from ostinato.tasks.sequence_classifier import SequenceClassifier as SequenceClassifier
    from ostinato.tasks.similarity import Similarity as Similarity
    from ostinato.tasks.tagger import Tagger as Tagger
    from ostinato.tasks.transcriber import Transcriber as Transcriber
    from ostinato.tasks.translator import Translator as Translator
    from ostinato.tasks.tree_classifier import TreeClassifier as TreeClassifier
    from ostinato.topologies import SeqToSeq as SeqToSeq
    from ostinato.topologies import TreeToVec as TreeToVec
    from ostinato.topologies import VecToSeq as VecToSeq
    from ostinato.tree_cells import ChildSumTreeLSTMCell as ChildSumTreeLSTMCell
    from ostinato.tree_cells import NaryTreeLSTMCell as NaryTreeLSTMCell
    from ostinato.tree_cells import RecursiveCell as RecursiveCell
    from ostinato.tree_cells import RNTNCell as RNTNCell
    from ostinato.tree_cells import TreeCell as TreeCell
    from ostinato.trees import Recursive as Recursive

# name → where it is; imported when first used, so that `import ostinato` does not wait for torch
_PUBLIC = {
    "Analyzer": "ostinato.analysis",
    **dict.fromkeys(("AdditiveAttention", "MultiplicativeAttention"), "ostinato.attention"),
    **dict.fromkeys(
        (
            "GatedCell",
            "GRUCell",
            "HiddenState",
            "IndRNNCell",
            "IRNNCell",
            "LSTMCell",
            "LSTMState",
            "MGUCell",
            "PeepholeLSTMCell",
            "ReLURNNCell",
            "ResetFirstGRUCell",
            "RNNCell",
            "SigmoidRNNCell",
            "SLSTMCell",
            "SLSTMState",
        ),
        "ostinato.cells",
    ),
    **dict.fromkeys(
        ("ConvCell", "ConvGRUCell", "ConvLSTMCell", "ConvPeepholeLSTMCell", "ConvRecurrent"), "ostinato.conv_cells"
    ),
    **dict.fromkeys(("LinearCell", "MinGRUCell", "MinLSTMCell", "RGLRUCell"), "ostinato.linear_cells"),
    **dict.fromkeys(("Diagnosis", "diagnose"), "ostinato.diagnostics.diagnosis"),
    "EncoderDecoder": "ostinato.encoder_decoder",
    "OstinatoError": "ostinato.errors",
    "backend": "ostinato.kernels.recurrence",
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "ostinato.layers"),
    **dict.fromkeys(("Bidirectional", "Deep", "Recurrent"), "ostinato.networks"),
    "write_report": "ostinato.report.writing",
    "load": "ostinato.tasks",
    "Acceptability": "ostinato.tasks.acceptability",
    "AcceptabilityScore": "ostinato.tasks.acceptability_score",
    "ConditionalLanguageModel": "ostinato.tasks.conditional_language_model",
    "Captioner": "ostinato.tasks.captioner",
    "Classifier": "ostinato.tasks.classifier",
    "FramePredictor": "ostinato.tasks.frame_predictor",
    "Forecaster": "ostinato.tasks.forecaster",
    "LanguageModel": "ostinato.tasks.language_model",
    "LinearClassifier": "ostinato.tasks.linear_classifier",
    "MusicModel": "ostinato.tasks.music",
    "NGramLanguageModel": "ostinato.tasks.ngram",
    "Tagger": "ostinato.tasks.tagger",
    "Transcriber": "ostinato.tasks.transcriber",
    "Translator": "ostinato.tasks.translator",
    "Playlist": "ostinato.tasks.playlist",
    "Recommender": "ostinato.tasks.recommender",
    "Recursive": "ostinato.trees",
    "SequenceClassifier": "ostinato.tasks.sequence_classifier",
    "Similarity": "ostinato.tasks.similarity",
    "TreeClassifier": "ostinato.tasks.tree_classifier",
    **dict.fromkeys(("SeqToSeq", "TreeToVec", "VecToSeq"), "ostinato.topologies"),
    **dict.fromkeys(
        ("ChildSumTreeLSTMCell", "NaryTreeLSTMCell", "RecursiveCell", "RNTNCell", "TreeCell"), "ostinato.tree_cells"
    ),
}

_MODULES = ("features",)

__all__ = ["__version__", *_MODULES, *_PUBLIC]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ostinato")
    if name in _MODULES:
        return import_module(f"ostinato.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
