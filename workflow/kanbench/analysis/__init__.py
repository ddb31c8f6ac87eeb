"""What the results say: equal compute, ranking, uncertainty, findings."""
