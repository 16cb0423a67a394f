"""Find out if a started app is ready: its ports, its answers, and its log if it fails."""
