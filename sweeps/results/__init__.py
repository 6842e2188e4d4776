"""From records to tables, statistics and effects."""
