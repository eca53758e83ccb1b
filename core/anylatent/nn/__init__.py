"""Network parts. They know tokens, masks, positions and conditions; they know no path, solver or modality."""
