"""One prediction out of several. A guidance plans branches and combines them; the engine runs them, in one batch."""
