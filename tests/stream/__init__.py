"""Tests of live balances."""
