"""The client: what a service does, asked for from elsewhere. Needs none of the service's own libraries."""
