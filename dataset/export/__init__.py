"""Exports: clips of a finished dataset in the file layouts of other training code. Imports the index, storage and query of
datasets, and nothing that writes datasets.
"""
