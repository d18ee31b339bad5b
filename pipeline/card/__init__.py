"""Descriptions of a finished dataset for people and tools: data card and Croissant metadata.

May import pipeline.shards and lower layers.
"""
