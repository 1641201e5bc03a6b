"""Output only, no mathematics: log lines, metrics, TensorBoard, plots, grids and animations."""
