"""The catalogue of methods as a page of the docs: `python tests/catalogue.py` writes it again."""

from pathlib import Path

from anylatent.catalogue import page
from anylatent.components import core_components

PAGE = Path(__file__).parents[1] / "docs" / "methods" / "catalogue.md"

if __name__ == "__main__":
    PAGE.write_text(page(core_components()))
