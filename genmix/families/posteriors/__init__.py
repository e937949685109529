"""Properly weighted proposals: posteriors that wrap other posteriors, and nest."""
