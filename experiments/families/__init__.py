"""One small model of every family, on binary images, for experiments.compare."""
