"""What a trained denoiser knows of given samples: their likelihood, their class, their features."""
