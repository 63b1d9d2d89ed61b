from __future__ import annotations

import base64
import io
import json

import pytest
import yaml
from PIL import Image


def jpeg(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, format="JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def model(name, recall, top1, parameters):
    retrieval = {"text_to_image/recall@1": recall, "text_to_image/recall@5": min(1.0, 2 * recall)}
    artifacts = {
        "classes": ["cat", "<b>dog</b>"],
        "confusion": [[3, 1], [2, 2]],
        "bad": [{"id": "p9", "reason": "cut"}],
    }
    return {
        "name": name,
        "parameters": parameters,
        "flops_per_pair": 10 * parameters,
        "images_per_second": 1e9 / parameters,
        "speed": {"pictures": 16, "seconds": [parameters / 1e9 * 16 * (1 + n / 10) for n in range(5)]},
        "results": [
            {"evaluator": "retrieval", "data": "petri/test", "n": 1000, "metrics": retrieval, "artifacts": {}},
            {"evaluator": "zero_shot", "data": "pets", "n": 8, "metrics": {"top1": top1}, "artifacts": artifacts},
        ],
    }


EVIL = "<script>alert('x')</script> a | cat"


@pytest.fixture
def make_run(tmp_path):
    """Write a RUN folder as a training leaves it, with its control, and return its path."""

    def make(name="a", seed=0, student=0.2, control=0.1, teacher=0.8, recipe=None, evaluated=True):
        run = tmp_path / f"{name}-{seed}"
        (run / "control").mkdir(parents=True)
        content = {"name": name, "about": EVIL, "seed": seed, "task": {"weights": {"fd": 2000}}} | (recipe or {})
        (run / "recipe.yaml").write_text(yaml.safe_dump(content))
        (run / "environment.json").write_text(json.dumps({"torch": "2.14", "devices": ["cpu"]}))
        lines = [
            {"step": s, "loss": 3 / s, "loss/fd": 2 / s, "samples_per_second": 100, "seconds": s} for s in (1, 2, 3)
        ]
        text = "".join(json.dumps(line) + "\n" for line in [*lines, {"step": 3, "loss": 0.5, "seconds": 75}])
        (run / "metrics.jsonl").write_text(text + '{"step": 4, "lo')
        (run / "control" / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
        (run / "bad_samples.jsonl").write_text('{"id": "x", "reason": "y"}\n')
        if evaluated:
            models = {"teacher": model("big", teacher, 0.9, 4e6), "student": model("small", student, 0.6, 1e6)}
            (run / "evaluation.json").write_text(json.dumps({"models": models}))
            if control is not None:
                alone = {"models": {"student": model("small", control, 0.5, 1e6)}}
                (run / "control" / "evaluation.json").write_text(json.dumps(alone))
        for folder, role, rank in ((run, "teacher", 1), (run / "control", "student", 7)):
            query = {"caption": EVIL, "answer": "p1", "models": {role: {"rank": rank, "found": ["p1", "p2"]}}}
            pictures = {"p1": jpeg("red"), "p2": jpeg("blue")}
            examples = {
                "data": "petri/test",
                "seed": 0,
                "gallery": 9,
                "top": 2,
                "queries": [query],
                "pictures": pictures,
            }
            (folder / "examples.json").write_text(json.dumps(examples))
        return run

    return make
