"""Action units of stored frames: OpenFace run as a program, or csv files that it wrote elsewhere."""
