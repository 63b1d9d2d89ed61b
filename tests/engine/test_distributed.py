"""Two processes with half a batch each give what one process gives on the whole batch."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.tasks import ClipKD
from tests.tiny import TinyStudent, TinyTeacher, make_batch

WEIGHTS = {"task": 1.0, "crd": 0.7, "fd": 3.0, "icl": 0.5, "gd": 11.0, "afd": 0.4, "affinity": 0.3}


def step(ranks: Ranks, batch: dict[str, Any], micro: int | None) -> dict[str, Any]:
    torch.manual_seed(5 + ranks.rank)  # ranks start apart, as after dropout; rank 0's weights must win
    task = ClipKD(TinyStudent(), [TinyTeacher(5)], WEIGHTS).double()
    ranks.broadcast_module(task)
    terms = backward(task, batch, ranks, micro)
    parameters = list(task.parameters())
    ranks.average_gradients(parameters, bucket_bytes=256)
    means = {name: ranks.mean(value).item() for name, value in terms.items()}
    return {"terms": means, "gradients": {name: p.grad.clone() for name, p in task.named_parameters()}}


def worker(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    whole = make_batch(8)
    local = {k: v[4 * rank : 4 * rank + 4] for k, v in whole.items() if isinstance(v, torch.Tensor)}
    ranks = Ranks(rank, 2, torch.device("cpu"))
    for micro in (None, 2):
        torch.save(step(ranks, local, micro), Path(folder) / f"{rank}-{micro}.pt")
    assert ranks.any(rank == 1) and not ranks.any(False)
    assert ranks.objects(rank) == [0, 1]
    dist.destroy_process_group()


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    expected = step(Ranks(0, 1, torch.device("cpu")), make_batch(8), None)
    for rank in (0, 1):
        for micro in (None, 2):
            found = torch.load(tmp_path / f"{rank}-{micro}.pt")
            for name, value in expected["terms"].items():
                assert abs(found["terms"][name] - value) < 1e-10, name
            for name, gradient in expected["gradients"].items():
                torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-8, atol=1e-12, msg=name)
