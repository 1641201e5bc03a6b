"""A training run on disk: folder, snapshots, the numbers of its steps, events and plots."""
