"""Keeping and moving what a data folder holds: backups, and logs from elsewhere."""
