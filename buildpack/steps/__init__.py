"""The steps of a build, each with values in and values out; `buildpack.build` puts them together."""
