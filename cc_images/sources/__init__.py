"""Inputs from elsewhere: git repositories, downloads, and the state of package repositories."""
