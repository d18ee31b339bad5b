"""Finds the people in a dataset by face descriptors: `python -m dataset.people OUT`.

Imports dataset.reading, dataset.query, dataset.storage and schemas.
"""
