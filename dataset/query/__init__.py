"""Conditions on the columns of the index, SQL queries, and the formatting of statistics.

Imports schemas only.
"""
