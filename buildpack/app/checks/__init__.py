"""What can be seen of an app without running it: each module looks at one thing that goes wrong only in production."""
