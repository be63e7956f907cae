"""Files on disk: results behind expiring links, and the folders of running requests."""
