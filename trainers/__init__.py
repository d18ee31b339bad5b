"""The reference models: networks, losses, training on shards, inference, evaluation and export."""
