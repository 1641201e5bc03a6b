"""Engines side by side: weights, outputs, losses, images, time and memory, all measured."""
