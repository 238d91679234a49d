"""Data-parallel training on two CPU processes, gradients compressed: torchrun --nproc-per-node 2 examples/ddp.py"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from thinwire.ddp import compress_gradients

dist.init_process_group("gloo")
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
model = DistributedDataParallel(model)
compression = compress_gradients(model, "hggtopk", density=0.05)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.Generator().manual_seed(dist.get_rank())
for _ in range(20):
    images = torch.randn(32, 64, generator=data)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), images[:, :10].argmax(1)).backward()
    optimizer.step()
if dist.get_rank() == 0:
    print(compression.report())
dist.destroy_process_group()
