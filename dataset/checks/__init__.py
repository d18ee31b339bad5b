"""What `verify` checks, a module for each part of a dataset.

Imports dataset.index, dataset.reading and schemas.
"""
