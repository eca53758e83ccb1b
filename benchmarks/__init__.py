"""Ratios against peers and our own base, interleaved in one run, medians. Never a timed test."""
