"""Copies: duplicates within a set, and texts that a set shares with another."""
