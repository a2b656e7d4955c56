"""Everything kept across restarts, in SQLite; the only room that speaks SQL."""
