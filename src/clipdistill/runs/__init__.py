"""From a recipe to a run: its chain of stages, the plan, the folder; caching, evaluation, studies, the doctor."""
