"""Descriptions of a finished dataset for people and tools: the data card and Croissant.

Imports pipeline.shards and what lies below.
"""
