"""Samples to tokens and back. Add a tokenizer here only if more than one modality can use it."""
