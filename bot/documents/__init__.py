"""Reads what people write and bring: YAML with its lines, personas, cards in PNG and JSON, PDF.

Settings and personas share the YAML. It opens no file but those it is told to, and changes none.
"""
