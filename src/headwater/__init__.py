"""Headwater: an event log, an incremental SQL engine and their consumers, in one process."""
