"""A self-contained HTML report on a dataset: `python -m dataset.report OUT`."""
