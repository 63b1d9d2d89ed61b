"""Two processes with half a batch each give what one process gives on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.models import create_model
from clipdistill.tasks import DCLIP, ClipKD
from clipdistill.tasks.base import Features
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


class Matching(DCLIP):
    """DCLIP with matching alone; it notes the seed that its negatives are drawn from, or takes one."""

    seed: int | None = None

    def batch_losses(self, features: Features) -> dict[str, torch.Tensor]:
        if self.seed is not None:
            torch.manual_seed(self.seed)
        self.seed = torch.initial_seed()
        return super().batch_losses(features)


def match(ranks: Ranks, rows: slice, micro: int | None, seed: int | None = None) -> dict[str, Any]:
    """A step on some of 16 pairs: the term and the head's gradient on this rank, then all gradients averaged."""
    torch.manual_seed(0)  # of the head
    task = Matching(create_model("petri-tiny-student", seed=0), weights={"itm": 1.0})
    ranks.broadcast_module(task)
    torch.manual_seed(5 + ranks.rank)
    task.seed = seed
    size, draw = task.student.preprocess["size"], torch.Generator().manual_seed(1)
    batch = {
        "image/student": torch.randint(256, (16, 3, *size), generator=draw, dtype=torch.uint8),
        "text/student": task.student.tokenizer([f"a {colour} star" for colour in ("red", "blue", "green", "grey") * 4]),
    }
    terms = backward(task, {name: value[rows] for name, value in batch.items()}, ranks, micro)
    own = {"itm": terms["itm"], "seed": task.seed, "head": task.itm_head[0].weight.grad.clone()}
    ranks.average_gradients([p for p in task.parameters() if p.requires_grad])
    gradients = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
    return own | {"gradients": gradients, "next": torch.rand(4)}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    # They meet in a file: a free port could be taken before the first of them listens there.
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    whole = make_batch(8)
    local = {k: v[4 * rank : 4 * rank + 4] for k, v in whole.items() if isinstance(v, torch.Tensor)}
    ranks = Ranks(rank, 2, torch.device("cpu"))
    for micro in (None, 2):
        torch.save(step(ranks, local, micro), Path(folder) / f"{rank}-{micro}.pt")
        torch.save(match(ranks, slice(8 * rank, 8 * rank + 8), micro), Path(folder) / f"itm-{rank}-{micro}.pt")
    assert ranks.any(rank == 1) and not ranks.any(False)
    assert ranks.objects(rank) == [0, 1]
    dist.barrier()  # neither leaves while the other still talks to it: gloo's threads would abort the process
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes saved of their steps."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return folder


def test_two_ranks_equal_one_process(ran: Path) -> None:
    expected = step(Ranks(0, 1, torch.device("cpu")), make_batch(8), None)
    for rank in (0, 1):
        for micro in (None, 2):
            found = torch.load(ran / f"{rank}-{micro}.pt")
            for name, value in expected["terms"].items():
                assert abs(found["terms"][name] - value) < 1e-10, name
            for name, gradient in expected["gradients"].items():
                torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("micro", [None, 2])
def test_ranks_draw_the_same_negatives(ran: Path, micro: int | None) -> None:
    first, second = (torch.load(ran / f"itm-{rank}-{micro}.pt") for rank in (0, 1))
    assert first["seed"] == second["seed"]
    torch.testing.assert_close(first["itm"], second["itm"], rtol=0, atol=0)
    torch.testing.assert_close(first["head"], second["head"], rtol=0, atol=0)
    assert not torch.equal(first["next"], second["next"])  # their own draws, of dropout, stay apart
    whole = match(Ranks(0, 1, torch.device("cpu")), slice(0, 16), None, first["seed"])
    torch.testing.assert_close(first["itm"], whole["itm"])
    assert first["gradients"].keys() == whole["gradients"].keys() and len(whole["gradients"]) > 10
    for name, gradient in whole["gradients"].items():
        torch.testing.assert_close(first["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_one_process_draws_from_its_own_generator() -> None:
    alone = Ranks(0, 1, torch.device("cpu"))
    assert match(alone, slice(0, 16), None)["seed"] == 5
    negatives = match(alone, slice(0, 16), None)
    torch.testing.assert_close(negatives["itm"], match(alone, slice(0, 16), None, seed=5)["itm"], rtol=0, atol=0)
