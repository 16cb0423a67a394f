"""Files with which other programs start a formation: systemd's units, a compose file. Imports Jinja2, which is slow."""
