"""Transformer Intuition Lab: a transformer language model in plain NumPy, every part of it a switch."""

from tlab.config import ConfigError
from tlab.generate import generate, generate_samples
from tlab.machine import VERSION
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.notebook.watch import watch
from tlab.text import load_corpus
from tlab.training.checkpoint import Checkpoint, CheckpointError
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.records import StepRecord
from tlab.training.trainer import Trainer

__version__ = VERSION

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ComputeConfig",
    "ConfigError",
    "ModelConfig",
    "StepRecord",
    "TrainConfig",
    "Trainer",
    "Transformer",
    "generate",
    "generate_samples",
    "load_corpus",
    "watch",
]
