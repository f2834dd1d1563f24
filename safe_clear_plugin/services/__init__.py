"""Preview and apply: short recipes over the layers below."""
