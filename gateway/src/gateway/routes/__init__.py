"""HTTP in: the table of public paths, and what is done with a request that matches one."""
