"""Reads shards from disk, http(s) or object stores, with retries and a shared cache.

May import schemas only.
"""
