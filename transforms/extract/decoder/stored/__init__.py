"""Stored videos: encoded, copied, joined and checked."""
