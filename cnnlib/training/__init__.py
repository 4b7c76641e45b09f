"""Training, evaluation, and checkpoints that survive."""

from cnnlib.losses import Criterion
from cnnlib.training.averaging import AveragedModel, get_ema_avg_fn, get_swa_avg_fn
from cnnlib.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_settings,
    load_checkpoint,
    save_checkpoint,
)
from cnnlib.training.distributed import Processes, WorkerLostError, World, started_by_torchrun
from cnnlib.training.evaluation import evaluate, top_k
from cnnlib.training.history import Batch, Epoch, History
from cnnlib.training.loop import Callbacks, InterruptedRunError, fit
from cnnlib.training.threads import fit_in_threads

__all__ = [
    "AveragedModel",
    "Batch",
    "Callbacks",
    "Checkpoint",
    "CheckpointError",
    "Criterion",
    "Epoch",
    "History",
    "InterruptedRunError",
    "Processes",
    "World",
    "WorkerLostError",
    "checkpoint_settings",
    "evaluate",
    "fit",
    "fit_in_threads",
    "get_ema_avg_fn",
    "get_swa_avg_fn",
    "load_checkpoint",
    "save_checkpoint",
    "started_by_torchrun",
    "top_k",
]
