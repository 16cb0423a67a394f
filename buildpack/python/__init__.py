"""What Python needs: find and fetch wheels, turn them into a virtual environment's files, compile byte code."""
