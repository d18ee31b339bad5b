"""The reference models: their networks and losses, and what trains them on the shards."""
