"""The steps of a build, each with values in and values out; `buildpack.pipeline` puts them together."""
