"""A training run on disk: its folder, the numbers of its steps, its events and plots."""
