"""Studies on a cluster: the private database server, batch jobs, their state."""
