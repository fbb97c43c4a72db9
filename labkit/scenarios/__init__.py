"""Stories told with the lab's verbs: each can be told in a notebook, step by step, or by one call."""
