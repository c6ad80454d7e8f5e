"""Proof that the books balance: the one reader of every service's database (rule 19). Called by the command line and a job."""
