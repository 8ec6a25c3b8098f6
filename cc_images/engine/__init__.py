"""From a plan to results: scheduling, capacity, and the tasks themselves."""
