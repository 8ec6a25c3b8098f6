"""Finished image files, made from a tree or a disk."""
