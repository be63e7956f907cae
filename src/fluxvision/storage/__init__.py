"""What this machine keeps for a while: results behind expiring links, uploads while a request runs."""
