"""Training, evaluation, and checkpoints that survive."""

from cnnlib.training.checkpoint import CheckpointError, checkpoint_settings, load_checkpoint, save_checkpoint
from cnnlib.training.distributed import Processes, WorkerLostError, World, started_by_torchrun
from cnnlib.training.evaluation import Criterion, criterion_of, device_of, evaluate, top_k
from cnnlib.training.history import Batch, Epoch, History
from cnnlib.training.loop import InterruptedRunError, fit

__all__ = [
    "Batch",
    "CheckpointError",
    "Criterion",
    "Epoch",
    "History",
    "InterruptedRunError",
    "Processes",
    "World",
    "WorkerLostError",
    "checkpoint_settings",
    "criterion_of",
    "device_of",
    "evaluate",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
    "started_by_torchrun",
    "top_k",
]
