"""What memory a stage will need, part by part (`temper plan --memory`)."""
