"""Builds on other hosts: what travels, who holds a claim, and how jobs are started there."""
