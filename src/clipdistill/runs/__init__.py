"""From a recipe to a run: wiring, plan, training, caching, evaluation."""
