"""`ostinato fit classifier`: texts with labels to a model that names them."""

from __future__ import annotations

from ostinato.analysis import AnalyzerSettings
from ostinato.cli.classifiers import CLASSIFIERS, by_input
from ostinato.cli.fit_by_model import fit_by_model_app
from ostinato.codecs.audio import AudioSettings
from ostinato.codecs.frames import ItemSettings
from ostinato.codecs.images import ImageSettings
from ostinato.codecs.music import RollSettings
from ostinato.features.tf_idf import TfIdfSettings
from ostinato.tasks.examples import ExampleSettings
from ostinato.tasks.sequence_classifier import FrameSettings, SequenceClassifier
from ostinato.tasks.sequence_examples import SequenceSettings
from ostinato.training.settings import TrainingSettings


class SequencePanel(FrameSettings, SequenceSettings):
    """What has a heading of its own: all that texts have not."""


app = fit_by_model_app(
    CLASSIFIERS,
    "recurrent",
    "recurrent (a bidirectional LSTM, unless --cell and others say otherwise), rnn, gru, lstm, bilstm, deep-bilstm, "
    r"cnn, mlp (of the mean of the words), linear (on TF-IDF n-grams). \[default: recurrent]",
    "Train a classifier: texts, or with --input series, items and files of sound, pictures or music, with one label or "
    "several, to a model that names those of others.",
    {
        "Reading": ExampleSettings,
        "Text": AnalyzerSettings,
        "Linear: terms": TfIdfSettings,
        "Sequences (--input)": SequencePanel,
        "Items (--input items)": ItemSettings,
        "Sound (--input audio)": AudioSettings,
        "Pictures (--input images)": ImageSettings,
        "Music (--input midi)": RollSettings,
        "Training": TrainingSettings,
    },
    "Files (CSV, TSV, JSONL, Parquet, fastText's), a folder with one folder of texts for each label, patterns, or - "
    "for standard input.",
    further=(SequenceClassifier,),
    pick=by_input,
)
