"""A stored clip: its sample, video and sound, decoded on access.

May import dataset.plotting.
"""
