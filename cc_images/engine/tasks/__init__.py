"""One module for each kind of task, with a function `do`; `worker.TASKS` says which does what."""
