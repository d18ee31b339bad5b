"""Bytes of shards, from a disk, http(s) or an object store, with retries and a shared cache.

Imports schemas only.
"""
