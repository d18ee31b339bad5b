"""From the index to batches: catalog, elastic order of samples, epochs, and the reader that decodes samples.

May import dataset.index, dataset.storage and dataset.query.
"""
