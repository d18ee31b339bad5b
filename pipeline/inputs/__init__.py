"""The files of `--input`, read in place from directories, archives and object stores; unused files are counted.

May import schemas and transforms only.
"""
