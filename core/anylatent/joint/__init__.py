"""Several modalities in one denoiser: samples of several parts, made together, or some given the others."""
