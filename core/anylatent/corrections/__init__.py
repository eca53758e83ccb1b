"""What is done to the tokens after a step: projections, data consistency."""
