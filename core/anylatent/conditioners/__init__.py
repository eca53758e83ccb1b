"""What a sample is asked to be, as vectors and tokens for the denoiser."""
