"""What makes convolutions fast on some platform."""
