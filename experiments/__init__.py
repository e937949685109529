"""One module an experiment: python -m experiments lists them."""
