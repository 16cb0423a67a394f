"""Every error and warning of the commands, in words: one module for each part that raises them."""
