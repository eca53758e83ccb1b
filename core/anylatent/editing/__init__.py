"""Edits: what is given, what is to be made anew."""
