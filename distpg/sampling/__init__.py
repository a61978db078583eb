"""From a task and weights to whole episodes."""
