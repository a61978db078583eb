"""From a batch of episodes to better weights."""
