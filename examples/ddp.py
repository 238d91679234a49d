"""Data-parallel training on two CPU processes of this machine, gradients compressed: python examples/ddp.py"""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from thinwire.ddp import compress_gradients

RANKS = 2


def train(rank: int, folder: str) -> None:
    """Be one of the ranks."""
    # Through a file: torch's rendezvous over TCP listens on all interfaces and trusts whoever connects.
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    model = DistributedDataParallel(model)
    compression = compress_gradients(model, "hggtopk", density=0.05)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(rank)
    for _ in range(20):
        images = torch.randn(32, 64, generator=data)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), images[:, :10].argmax(1)).backward()
        optimizer.step()
    if rank == 0:
        print(compression.report())
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # gloo listens where nobody else can connect; on macOS "lo0"
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (folder,), nprocs=RANKS)
