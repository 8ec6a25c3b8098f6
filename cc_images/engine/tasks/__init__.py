"""One module for each kind of task; each has JOB, the kind of its job, and `do`."""
