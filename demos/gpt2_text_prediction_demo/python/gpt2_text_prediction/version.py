"""The version of this package, also in a checkout that is not installed; setup.cfg reads it here."""

VERSION = "0.1.0"
