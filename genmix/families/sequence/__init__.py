"""Models of sequences: what a step says, unrolled or filtered into a log-weight."""
