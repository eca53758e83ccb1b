"""The report of a run: one HTML file that needs nothing else, made of plain facts.

It knows no run folder, no modality and no network: whoever has the facts fills `ReportFacts`.
"""

from anylatent.report.facts import Picture, Preview, ReportFacts, Section, StageTime
from anylatent.report.page import render

__all__ = ["Picture", "Preview", "ReportFacts", "Section", "StageTime", "render"]
