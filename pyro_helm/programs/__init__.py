"""All that runs or reads Pyro programs: particles, their contract with a scheme, memory, the param store."""
