"""Shards and their markers: built, rewritten, extended, and which of them are committed, on disk or in a bucket.

Imports pipeline.clips and what lies below.
"""
