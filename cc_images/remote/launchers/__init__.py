"""Ways to start a job on another host."""
