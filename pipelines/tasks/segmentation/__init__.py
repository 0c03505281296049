"""Segmentation: a label for each pixel of an image."""
