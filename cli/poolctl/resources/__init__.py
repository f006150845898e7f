"""The commands that read and change resources."""
