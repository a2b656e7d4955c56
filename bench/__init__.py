"""Measurements of the figures to reach; run by ``make bench``, never by the tests."""
