"""Action units of stored frames: from OpenFace run as a program, from its csv files, or from pyfaceau."""
