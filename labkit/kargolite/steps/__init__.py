"""The promotion steps that the lab's Stages use, each a function from its configuration to a result."""
