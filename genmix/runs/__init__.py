"""What surrounds a run: its directory, log, progress, checkpoints, interruption, command line."""
