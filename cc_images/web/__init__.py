"""The service: requests over HTTP, accounts, and a queue of runs. A face over `api`, without a scheduler of its own."""
