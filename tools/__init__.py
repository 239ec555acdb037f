"""Scripts for people who work on this repository: the listing of the public API, and the picture of the layers."""
