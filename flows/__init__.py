"""What runs, in which order and where: graph, plan, the Prefect flow, the command line."""
