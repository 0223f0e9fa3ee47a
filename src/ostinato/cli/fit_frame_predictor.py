"""`ostinato fit frame-predictor`: train, or resume."""

from __future__ import annotations

from ostinato.cli.fit_command import fit_app
from ostinato.codecs.clips import ClipSettings
from ostinato.tasks.frame_predictor import FramePredictor
from ostinato.training.settings import TrainingSettings

app = fit_app(
    FramePredictor,
    "Train a frame predictor: clips to a model that tells what comes next in one, frame by frame.",
    {"Clips": ClipSettings, "Training": TrainingSettings},
    "Files (GIF, WebP, .npy, .npz), or folders of them, or of PNG and JPEG images: a folder of images is a clip.",
    "clips drawn at random",
)
