"""The bridge between the site and the engine: takes jobs, runs them, reports."""
