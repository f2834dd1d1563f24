"""From a plan to cleared task instances: confirmation, approval, claim, batches."""
