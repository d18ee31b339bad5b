"""Worker processes that read batches into shared memory, and prefetching to the device.

May import dataset.stream and everything below it.
"""
