"""The mathematics of DDIM: schedule, timesteps, steps, sampler, noise. No files, no frameworks."""
