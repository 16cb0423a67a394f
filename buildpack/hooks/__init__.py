"""Heroku's build hooks and Django's collectstatic, run on a copy of the app before its layer is written."""
