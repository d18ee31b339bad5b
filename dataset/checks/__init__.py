"""The checks of `verify`, one module for each part of a dataset.

Imports dataset.index, dataset.reading, transforms.extract (whose decoders read video and sound) and schemas.
"""
