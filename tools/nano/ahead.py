"""Batches that other processes draw before they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Batch = TypeVar("Batch")


def drawn_ahead(batches: Dataset[Batch], steps: range) -> Iterator[Batch]:
    """The batches of some steps in order, drawn by all but one of the processor's cores."""
    workers = max(1, len(os.sched_getaffinity(0)) - 1)
    torch.multiprocessing.set_sharing_strategy("file_system")  # the other one runs out of open files
    yield from DataLoader(batches, sampler=steps, batch_size=None, num_workers=workers, multiprocessing_context="fork")
