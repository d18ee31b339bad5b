"""One HTML page that shows what is in a data set: `python -m dataset.report OUT`."""
