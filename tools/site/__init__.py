"""The documentation site: pages of the reference, the build, and the checks of what was built."""
