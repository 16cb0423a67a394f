"""Write Pipfile and Pipfile.lock with pipenv."""
