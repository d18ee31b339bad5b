"""From the index to arrays: catalog, elastic order of samples, epochs, and the reader that decodes into a batch.

Imports dataset.index, dataset.storage and dataset.query.
"""
