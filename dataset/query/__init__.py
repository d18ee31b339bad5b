"""Conditions on the columns of the index, and the formatting of figures.

Imports schemas only.
"""
