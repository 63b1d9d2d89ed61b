"""Suites: named sets of evaluators, and the one call that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.apart import Labelled, measure
from clipdistill.evaluate.cost import is_denoiser
from clipdistill.evaluate.embed import Embedded, Encoder, embed_images, embed_texts
from clipdistill.evaluate.results import Progress, Result
from clipdistill.evaluate.retrieval import fold_metrics, retrieval_metrics
from clipdistill.evaluate.sources import captions_of, labels_of, left_out, open_sources
from clipdistill.evaluate.templates import downstream_templates, load_class_names, load_templates
from clipdistill.evaluate.zero_shot import class_embeddings, class_prompts

OPTIONS = ("templates", "class_names", "seen_classes", "chunk", "folds", "name", "samples", "t_range")


@dataclass(frozen=True)
class Job:
    """What every evaluator of a suite is given: the model, where it runs, and the user's options."""

    model: Encoder
    device: str | torch.device = "cpu"
    batch_size: int = 64
    workers: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    def images(self, source: Any) -> Embedded:
        return embed_images(
            self.model,
            source,
            device=self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            progress=self.progress,
        )

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return embed_texts(self.model, texts, device=self.device, progress=self.progress)


def evaluate_suite(
    model: Encoder,
    suite: str,
    data: Mapping[str, Any] | str | Path,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Run a suite and return its results.

    Args:
        model: a DualEncoder.
        suite: `"retrieval"`, `"zero_shot"`, `"petri"` (retrieval on a petri world's test split and zero-shot on its
            seen and unseen classes, each among its own classes and among all of them), `"compositional"` (Winoground,
            ARO, SugarCrepe, CLEVR pairs) or `"downstream"` (zero-shot on several data sets, each with its own prompt).
        data: a source spec (`{"format": ..., "path": ...}`), several named ones (`{"coco": {...}, "flickr": {...}}`),
            or a path or "format:path@split". For `petri`: the world's folder. For `compositional`: a folder with
            winoground/, aro/, sugarcrepe/, clevr/, or a mapping benchmark -> folder.
        options: `templates` (a name, a file or a list), `class_names` (a file or a list that replaces the source's
            names), `seen_classes` (a file or a list: those and the rest are also measured apart), `chunk`, `folds`
            (retrieval is measured in that many parts of the pictures too, and averaged), `name` (what reports call the
            data).
        progress: called as `progress(what, done, total)`.

    Raises:
        UserError: an unknown suite or option, or data that the suite can't use.
    """
    if suite not in SUITES:
        raise UserError(f"suite: '{suite}' is unknown; there are {', '.join(SUITES)}.{nearest(suite, SUITES)}")
    for key in options or ():
        if key not in OPTIONS:
            raise UserError(f"options: '{key}' is unknown; there are {', '.join(OPTIONS)}.{nearest(key, OPTIONS)}")
    if is_denoiser(model) and suite != "compositional":
        raise UserError(f"suite: a diffusion model has no embeddings to put through '{suite}'; use compositional")
    return SUITES[suite](Job(model, device, batch_size, workers, options or {}, progress), data)


def retrieval_results(job: Job, source: Any, name: str) -> list[Result]:
    """Measure retrieval between the pictures of a source and all of their captions; with `folds` in parts of it too."""
    if not any(source[row].captions for row in range(len(source))):
        raise UserError(f"retrieval: {name} has no captions; use the suite zero_shot or a source with captions")
    folds, chunk = job.options.get("folds"), int(job.options.get("chunk", 2048))
    if folds is not None and not (isinstance(folds, int) and 2 <= folds <= len(source)):
        raise UserError(f"retrieval: {name}: `folds` is {folds}; give a number from 2 to {len(source)}, its pictures")
    embedded = job.images(source)
    texts, owner = captions_of(source, embedded.positions)
    vectors, bad = job.texts(texts), left_out(source, embedded.bad)
    metrics = retrieval_metrics(embedded.features, vectors, owner, chunk)
    facts = {"texts": len(texts), "repeated_texts": len(texts) - len(set(texts)), "bad": bad}
    results = [Result("retrieval", name, len(embedded.positions), metrics, facts)]
    if folds is not None:
        parts = fold_metrics(embedded.features, vectors, owner, folds, chunk)
        mean = {key: sum(part[key] for part in parts) / folds for key in metrics}
        # Bad pictures are counted once, with the whole.
        facts = {"texts": len(texts), "folds": parts, "bad": []}
        results.append(Result("retrieval", f"{name}, {folds} folds", len(embedded.positions), mean, facts))
    return results


def zero_shot_results(
    job: Job, sources: Mapping[str, Any], default_templates: str | Sequence[str] = "plain"
) -> list[Result]:
    """Classify the pictures of each source; several sources are also measured among all of their classes together."""
    templates = load_templates(job.options.get("templates", default_templates))
    parts = []
    for name, source in sources.items():
        if not getattr(source, "classes", None):
            raise UserError(f"zero_shot: {name} has no classes; use an imagefolder, cifar10 or cifar100 source")
        given = job.options.get("class_names")
        classes = tuple(source.classes) if given is None else load_class_names(given, len(source.classes))
        embedded = job.images(source)
        label = labels_of(source, embedded.positions, name)
        parts.append(Labelled(name, classes, embedded.features, label, left_out(source, embedded.bad)))
    names = list(dict.fromkeys(name for part in parts for name in part.classes))
    vectors = class_embeddings(job.texts(class_prompts(names, templates)), len(names))
    seen = job.options.get("seen_classes")
    return measure(parts, names, vectors, None if seen is None else load_class_names(seen), len(templates))


def _retrieval(job: Job, data: Mapping[str, Any] | str | Path) -> list[Result]:
    sources = open_sources(data, job.options.get("name"))
    return [result for name, source in sources.items() for result in retrieval_results(job, source, name)]


def _zero_shot(job: Job, data: Mapping[str, Any] | str | Path) -> list[Result]:
    return zero_shot_results(job, open_sources(data, job.options.get("name")))


def _petri(job: Job, data: Mapping[str, Any] | str | Path) -> list[Result]:
    from clipdistill.data.sources import open_source

    given = data.get("path") if isinstance(data, Mapping) else data
    if not given:
        raise UserError("data: the suite petri needs the world's folder (path: DIR)")
    world = Path(given)
    annotations = world / "dataset_petri.json"
    if not annotations.is_file():
        raise UserError(f"data: {annotations} is missing; make a world with: clipdistill petri {world}")
    test = open_source({"format": "karpathy", "path": str(annotations), "split": "test"})
    folders = {
        f"petri/{part}": open_source({"format": "imagefolder", "path": str(world / "zero_shot" / part)})
        for part in ("seen", "unseen")
        if (world / "zero_shot" / part).is_dir()
    }
    results = retrieval_results(job, test, "petri/test")
    return results + (zero_shot_results(job, folders, "petri") if folders else [])


def _compositional(job: Job, data: Mapping[str, Any] | str | Path) -> list[Result]:
    from clipdistill.evaluate.compositional import DualEncoderMatcher, Matcher, evaluate_compositional
    from clipdistill.evaluate.diffusion_score import DiffusionScore

    matcher: Matcher
    if is_denoiser(job.model):
        kept = {key: job.options[key] for key in ("samples", "t_range") if key in job.options}
        matcher = DiffusionScore(job.model, batch_size=job.batch_size, device=job.device, **kept)
    else:
        matcher = DualEncoderMatcher(job.model, device=job.device, batch_size=job.batch_size)
    return evaluate_compositional(matcher, data, job.progress)


def _downstream(job: Job, data: Mapping[str, Any] | str | Path) -> list[Result]:
    """Zero-shot on several data sets, each among its own classes and with the prompts of CLIP's paper for it."""
    results = []
    for name, source in open_sources(data, job.options.get("name")).items():
        templates = downstream_templates(f"{getattr(source, 'name', '')} {name}")
        used = job.options.get("templates", templates)
        found = zero_shot_results(job, {name: source}, templates)
        for result in found:
            result.artifacts["prompts"] = used if isinstance(used, str) else list(used)
        results += found
    return results


SUITES: dict[str, Callable[[Job, Any], list[Result]]] = {
    "compositional": _compositional,
    "downstream": _downstream,
    "retrieval": _retrieval,
    "zero_shot": _zero_shot,
    "petri": _petri,
}
