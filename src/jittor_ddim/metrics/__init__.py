"""Distances between sets of images: resize, features, statistics, distance; one subject a file."""

from jittor_ddim.metrics.frechet import fid
from jittor_ddim.metrics.inception_score import inception_score
from jittor_ddim.metrics.kid import kid
from jittor_ddim.metrics.precision_recall import precision_recall

__all__ = ["fid", "inception_score", "kid", "precision_recall"]
