"""The pipeline step: besides building: logs and files in its service's own form, tests and a boot of the image."""
