"""Moves from time t to time s. A solver knows its path and one stream's tokens; it knows no network and no guidance."""
