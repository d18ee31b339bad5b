"""Records passed between the steps, and the on-disk formats. Imports numpy and pyarrow, and no other package of the project."""
