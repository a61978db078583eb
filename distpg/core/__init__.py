"""Seeding, tasks, episodes, returns and policies: NumPy alone."""
