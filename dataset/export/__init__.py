"""Exports clips of a finished dataset in the file layouts of other training code.

May import dataset.index, dataset.storage and dataset.query, and nothing that writes datasets.
"""
