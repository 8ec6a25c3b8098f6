"""From a request and the state of the world to a plan."""
