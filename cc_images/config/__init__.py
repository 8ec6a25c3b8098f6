"""The user's files: images.yaml, sites.yaml, third-party.yaml and settings, read and checked."""
