"""What flows through motionshards and what lies on disk. Imports numpy and pyarrow, nothing of ours."""
