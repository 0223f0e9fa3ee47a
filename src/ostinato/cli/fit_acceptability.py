"""`ostinato fit acceptability`: judged sentences to a model that judges others."""

from __future__ import annotations

from functools import partial

from ostinato.analysis import AnalyzerSettings
from ostinato.cli.fit_by_model import Choice, fit_by_model_app
from ostinato.tasks.acceptability import Acceptability, SentenceSettings
from ostinato.tasks.acceptability_score import AcceptabilityScore
from ostinato.tasks.classifier_settings import NETWORKS, with_network
from ostinato.training.settings import TrainingSettings

app = fit_by_model_app(
    {name: Choice(Acceptability, partial(with_network, name)) for name in NETWORKS}
    | {"language-model": Choice(AcceptabilityScore)},
    "recurrent",
    "a classifier: recurrent (a bidirectional LSTM, unless --cell and others say otherwise), rnn, gru, lstm, bilstm, "
    r"deep-bilstm, cnn, mlp; or language-model, whose score is compared with a threshold. \[default: recurrent]",
    "Train a judge of sentences: well formed, or not; chosen by Matthews' correlation.",
    {"Reading": SentenceSettings, "Text": AnalyzerSettings, "Training": TrainingSettings},
    "Files: four columns without names as CoLA has them, or CSV, TSV, JSONL, Parquet with a label and a text.",
)
