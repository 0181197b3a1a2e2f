"""The site."""

VERSION = "0.1.0"
