"""Files of `--input`, opened in place: directories, archives, object stores; every file is handed out or counted.

Imports schemas and transforms only.
"""
