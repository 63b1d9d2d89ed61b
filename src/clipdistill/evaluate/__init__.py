"""Evaluators: a model and a benchmark in, numbers out."""

from __future__ import annotations

from clipdistill.evaluate.cost import denoiser_cost, fusion_cost, model_cost, vlm_cost
from clipdistill.evaluate.examples import retrieval_examples
from clipdistill.evaluate.results import Result, retention
from clipdistill.evaluate.retrieval import retrieval_metrics
from clipdistill.evaluate.suites import SUITES, evaluate_suite

__all__ = [
    "SUITES",
    "Result",
    "denoiser_cost",
    "evaluate_suite",
    "fusion_cost",
    "model_cost",
    "retention",
    "retrieval_examples",
    "retrieval_metrics",
    "vlm_cost",
]
