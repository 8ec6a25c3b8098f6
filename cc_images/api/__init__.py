"""Every use case, for any face: the command line, a script, a service."""
