"""Metrics of molecules. Unique and novel shares are core's `distinct`, by canonical SMILES."""
