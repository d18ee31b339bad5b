"""Stored videos: encoded, copied and joined."""
