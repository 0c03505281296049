"""Several processes (torchrun) train one model: DDP (each has all weights) or FSDP2 (each has a part of each weight).

Started without torchrun there is one process, and everything here does nothing.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from base.errors import MetrolineError
from pipelines.training.muon import gathered, sharded_like

__all__ = ["Group", "gathered", "joined", "sharded_like"]


@dataclass(frozen=True)
class Group:
    """The processes that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and draws the progress bar."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def agree(self, value: int) -> int:
        """The first process's value, on all."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.broadcast(tensor, 0)
        return int(tensor)

    @torch.no_grad()
    def share(self, buffers: list[Tensor]) -> None:
        """Make buffers equal on all processes, in place: floats the mean over them, others the first process's.

        Running means become those of the whole batch. The mean is taken of differences from the first process, so that
        what is equal already keeps its bits.
        """
        if self.size == 1 or not buffers:
            return
        flat = torch.cat([buffer.reshape(-1).to(self.device, torch.float64) for buffer in buffers])
        first = flat.clone()
        dist.broadcast(first, 0)
        apart = torch.where(flat == first, 0.0, flat - first)
        dist.all_reduce(apart)
        mean = first + apart / self.size
        at = 0
        for buffer in buffers:
            chosen = mean if buffer.is_floating_point() else first
            buffer.copy_(chosen[at : at + buffer.numel()].view_as(buffer))
            at += buffer.numel()

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Within it is the first process, and only when that is done the others, who find what it has written."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def wrap(self, objective: nn.Module, network: nn.Module, kind: Literal["ddp", "fsdp"]) -> nn.Module:
        """`objective` made to share its gradients. With fsdp the network's weights become DTensors, in place."""
        if self.size == 1:
            return objective
        if kind == "ddp":
            # A mean over processes, which `Trainer` undoes. Buffers: see `share`.
            return nn.parallel.DistributedDataParallel(objective, broadcast_buffers=False)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        for block in getattr(network, "layers", []):
            fully_shard(block, mesh=mesh)
        fully_shard(objective, mesh=mesh)
        return objective

    def gather(self, wrapped: nn.Module) -> None:
        """Let FSDP2 gather all weights, so that any part of the network can be called."""
        for module in self._sharded(wrapped):
            module.unshard()

    def forget_gathered(self, wrapped: nn.Module) -> None:
        """Free weights that FSDP2 gathered for a forward pass with no backward pass; else it would use them again."""
        for module in self._sharded(wrapped):
            module.reshard()

    def _sharded(self, wrapped: nn.Module) -> Iterator[Any]:
        from torch.distributed.fsdp import FSDPModule

        return (module for module in wrapped.modules() if self.size > 1 and isinstance(module, FSDPModule))

    @contextlib.contextmanager
    def accumulating(self, wrapped: nn.Module, last: bool) -> Iterator[None]:
        """Within it gradients are shared only if this is the `last` part of the batch."""
        if self.size == 1:
            yield
        elif isinstance(wrapped, nn.parallel.DistributedDataParallel):
            with contextlib.nullcontext() if last else wrapped.no_sync():
                yield
        else:
            sharded: Any = wrapped
            sharded.set_requires_gradient_sync(last)
            yield


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that torchrun's variables describe, or a group of one."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Group(0, 1, device)
        return
    if device.type not in ("cpu", "cuda"):
        raise MetrolineError(f"several processes cannot train together on {device.type}", hint="cpu or cuda")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def assign(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into a weight or state that may be sharded."""
    target.copy_(sharded_like(whole.to(target.device, target.dtype), target))
