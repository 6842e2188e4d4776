"""The Inside tab: probes, interventions, checks and planted bugs."""
