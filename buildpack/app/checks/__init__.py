"""Checks of an app that run none of its code; each module finds one kind of fault that shows only in production."""
