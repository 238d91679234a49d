"""Tasks of the lab by name: digits, fashion-mnist, fashion-mnist-mlp, mnist, adult, avazu, shakespeare."""

from __future__ import annotations

from thinwire.lab.tasks import adult, avazu, digits, images, shakespeare
from thinwire.lab.tasks.base import Data, Task, Training, unknown
from thinwire.lab.tasks.folder import DataNotFound, data_dir
from thinwire.lab.tasks.partition import Partition, partition

__all__ = ["Data", "DataNotFound", "Partition", "Task", "Training", "data_dir", "find", "partition", "tasks"]


def tasks() -> dict[str, Task]:
    """Return every task by name, the quickest first."""
    return {task.name: task for task in (digits.TASK, adult.TASK, *images.TASKS, shakespeare.TASK, avazu.TASK)}


def find(name: str) -> Task:
    """Return the task called `name`; raises ValueError with the known names and the nearest."""
    known = tasks()
    if name not in known:
        raise unknown("task", name, known)
    return known[name]
