"""Engine against engine: weights, outputs, losses, images, time and memory, each measured."""
