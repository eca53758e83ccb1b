"""What is done to predicted clean tokens before a solver uses them: projections, data consistency, energies, classifiers."""
