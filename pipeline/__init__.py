"""Turns sources into a data set. The only room that knows Beam."""
