"""One stored clip: its sample, its video and its sound, decoded on access.

Imports dataset.plotting.
"""
