"""The mathematics of DDIM: no files, no frameworks."""
