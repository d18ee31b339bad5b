"""Builds datasets from source videos. The only package that imports Beam."""
