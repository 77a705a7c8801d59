"""What a failure means: whose it is, how sure that is, and what it holds."""
