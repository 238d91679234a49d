"""The data of a run, checked against its model."""

from __future__ import annotations

import torch

from thinwire.codec import Spec
from thinwire.ddp.method import check as check_method
from thinwire.lab.models.catalogue import find as find_model
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.data import Batches, Dataset
from thinwire.lab.training.data import find as find_dataset
from thinwire.lab.training.limited import limited


def read(config: TrainConfig) -> Dataset:
    """Return the data of a run. Raises DataNotFound where files lack, ValueError for damaged ones and where they do not
    fit the run: another kind than the model's, or fewer rows than a step of all workers takes.
    """
    spec, wanted = find_dataset(config.dataset), find_model(config.model).kind
    if spec.kind != wanted:
        raise ValueError(
            f"the model {config.model!r} is for {wanted}s; the data set {config.dataset!r} is {spec.kind}s"
        )
    if spec.kind == "image" and config.context is not None:
        raise ValueError(f"context is for text; the data set {config.dataset!r} is images")
    if spec.kind == "text" and config.augment:
        raise ValueError(f"augmentation is for images; the data set {config.dataset!r} is text")
    options = {} if config.context is None else {"context": config.context}
    dataset = limited(spec.load(config.data, **options), config.limit_rows)
    Batches(dataset.train, config.batch_size, world=config.workers)
    return dataset


def check(config: TrainConfig, dataset: Dataset) -> None:
    """Raise ValueError where the method cannot average the model's gradients, ImportError where a library lacks.

    Nothing is allocated.
    """
    with torch.device("meta"):
        model = find_model(config.model).architecture(dataset.outputs, **dataset.options)
    made = config.method.compressor
    if made is not None:
        check_method(made, {name: Spec.of(x) for name, x in model.named_parameters()})
