"""Pure functions on arrays: `extract` runs at build time, `augment` at training time."""
