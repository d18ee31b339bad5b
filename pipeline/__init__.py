"""Turns sources into a dataset. The only room that knows Beam."""
