"""Distributed training of the lab's models: data, the trainer, checkpoints."""
